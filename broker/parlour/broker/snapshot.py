"""Snapshots of a broker's state for other threads, which ask through a queue and wait for the answer.

This module owns that queue; any thread may ask, and the broker's thread answers. It must never delay the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import SimpleQueue
from typing import NamedTuple

from parlour.wire.control import NodeState

__all__ = ["BrokerSnapshot", "SnapshotRequests"]

TIMEOUT = 2.0
"""Seconds that the broker's thread has to answer. It never waits for a peer: without an answer, it has stopped."""


class BrokerSnapshot(NamedTuple):
    """The fleet as the broker sees it, and counts of its answers and refusals."""

    nodes: list[NodeState]
    settled: bool
    assignments: dict[str, int]
    refused_reports: dict[str, int]


class SnapshotRequests:
    """The queue of requests for a snapshot."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Future[BrokerSnapshot]] = SimpleQueue()

    def ask(self, wake: Callable[[], None]) -> BrokerSnapshot | None:
        """Ask the broker's thread, after `wake` has woken it; return None if it does not answer in time."""
        future: Future[BrokerSnapshot] = Future()
        self._asked.put(future)
        wake()
        try:
            return future.result(TIMEOUT)
        except FutureTimeoutError:
            return None

    def answer(self, take: Callable[[], BrokerSnapshot]) -> None:
        """Answer all requests, each with a snapshot from `take`; called by the broker's thread."""
        while not self._asked.empty():
            self._asked.get().set_result(take())
