"""Pictures of a broker's state for other threads: they ask through a queue, and the broker's thread answers.

This module owns that queue; any thread may ask, the broker's thread answers. It must never keep the broker waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import SimpleQueue
from typing import NamedTuple

from parlour.wire.control import NodeState

__all__ = ["BrokerSnapshot", "SnapshotRequests"]

PATIENCE = 2.0
"""Seconds that the broker's thread has to answer: it never waits for anybody, so it has stopped if it does not."""


class BrokerSnapshot(NamedTuple):
    """The fleet as the broker sees it, and how often it answered or refused what."""

    nodes: list[NodeState]
    settled: bool
    assignments: dict[str, int]
    refused_reports: dict[str, int]


class SnapshotRequests:
    """Where a snapshot is asked for."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Future[BrokerSnapshot]] = SimpleQueue()

    def ask(self, wake: Callable[[], None]) -> BrokerSnapshot | None:
        """Return a snapshot of now, after waking the broker's thread; None if that does not answer in time."""
        future: Future[BrokerSnapshot] = Future()
        self._asked.put(future)
        wake()
        try:
            return future.result(PATIENCE)
        except FutureTimeoutError:
            return None

    def answer(self, draw: Callable[[], BrokerSnapshot]) -> None:
        """Give all who ask a snapshot; called by the broker's thread."""
        while not self._asked.empty():
            self._asked.get().set_result(draw())
