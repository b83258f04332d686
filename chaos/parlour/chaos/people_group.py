"""The group of a round's people with accounts, in a process of their own.

This module owns the requests to the process; the round's thread calls it. It must never give up early on answers that
are late.
"""

from __future__ import annotations

import threading
import time

import msgspec

from parlour.chaos import people_process
from parlour.chaos.cluster import TrialCluster
from parlour.chaos.exchange import ask_parts
from parlour.chaos.part import module
from parlour.chaos.people_process import PeopleMemories
from parlour.chaos.requests import (
    Answer,
    AskProgress,
    EnterPeople,
    LeaveCluster,
    Progress,
    Request,
    Save,
    StartTalking,
    StopTalking,
)

__all__ = ["PeopleGroup"]

ENTERED = 120.0
"""Seconds within which all must have an account and be in."""

ANSWERING = 60.0
"""Seconds within which the process must answer anything else."""

READ = 300.0
"""Seconds within which it must have read the logs and written what the people remember."""

LOOK = 0.1
"""Seconds between two looks whether all is answered."""


class PeopleGroup:
    """People with accounts, whose names and room begin with `prefix`; the seed decides what they want to do."""

    def __init__(self, cluster: TrialCluster, prefix: str, seed: int, stop: threading.Event) -> None:
        """Prepare the people of a cluster; `stop` ends all waiting."""
        self._cluster = cluster
        self._prefix = prefix
        self._seed = seed
        self._stop = stop
        self._part = cluster.add("people", module(people_process.__name__))

    def enter(self) -> None:
        """Let all make accounts and enter; raises ParlourError."""
        self._part.start()
        self._ask(EnterPeople(self._cluster.brokers, self._cluster.nodes, self._prefix, str(self._seed)), ENTERED)

    def talk(self) -> None:
        """Let all begin to talk, to moderate and to spy."""
        self._ask(StartTalking())

    def stop_talking(self) -> None:
        """Let all stop that."""
        self._ask(StopTalking())

    def memories(self, timeout: float) -> PeopleMemories:
        """Return everything that they remember, once all is answered, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (report := self._ask(AskProgress())) and isinstance(report, Progress) and report.waiting:
            if time.monotonic() >= deadline or self._stop.wait(LOOK):
                break
        file = self._cluster.folder / "people.record"
        self._ask(Save(str(file)), READ)
        return msgspec.msgpack.decode(file.read_bytes(), type=PeopleMemories)

    def leave(self) -> None:
        """Let all leave; raises ParlourError if one cannot."""
        self._ask(LeaveCluster(), 2 * ANSWERING)

    def _ask(self, request: Request, timeout: float = ANSWERING) -> Answer:
        return ask_parts([self._part], [request], timeout)[0]
