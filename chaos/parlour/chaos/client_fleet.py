"""The fleet of a round's clients: they enter together, talk, stop and report.

This module owns the plan of each client, which the seed decides, and the requests to the clients' processes. The
round's thread calls it; the threads of faults call `at`. It must never give up early on records that are late.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from parlour.chaos import client_process
from parlour.chaos.cluster import TrialCluster
from parlour.chaos.exchange import ask_parts
from parlour.chaos.memories import Memories, Recollection
from parlour.chaos.mix import ClientDialect
from parlour.chaos.part import module
from parlour.chaos.requests import (
    Answer,
    AskProgress,
    ClientPlan,
    Done,
    Door,
    EnterCluster,
    LeaveCluster,
    Locate,
    Located,
    Progress,
    Request,
    Save,
    StartTalking,
    StopTalking,
)
from parlour.runtime.locks import make_lock

__all__ = ["RATE", "ClientFleet"]

RATE = 200.0
"""Posts per second of all clients together, on average."""

TOGETHER = 125
"""Clients in one process, at most."""

ANSWERING = 30.0
"""Seconds within which a process of clients must answer, however busy it is."""

WRITING = 180.0
"""Seconds within which it must write what its clients remember: after ten minutes, millions of records."""

ONE_IN = 3
"""One client in so many speaks JSON lines."""

DOORS = tuple(Door)
"""The doors that these clients use, in turn."""

STUCK = 4.0
"""Seconds without any new record at any client after which missing records count as lost."""

LOOK = 0.1
"""Seconds between two reports of the processes."""

T = TypeVar("T", bound=Answer)


class ClientFleet:
    """Clients `c1`, `c2`, …, each in one or two of `rooms`; nobody else is in these rooms.

    Attributes:
        names: the names of the clients.
        dialects: the dialect that each client speaks, by name.
    """

    def __init__(
        self, cluster: TrialCluster, count: int, rooms: Sequence[str], seed: int, stop: threading.Event
    ) -> None:
        """Prepare the clients of a cluster; `stop` ends all waiting."""
        self._rooms = rooms
        self._cluster = cluster
        self._stop = stop
        # Guards the requests to the processes and their answers. Rank 20.
        self._asking = make_lock(20, "clients")
        chance = random.Random(seed)
        plans: list[ClientPlan] = []
        for number in range(count):
            # Each room has a client, if there are enough clients; some clients are in two rooms.
            chosen = [rooms[number % len(rooms)]]
            if len(rooms) > 1 and chance.random() < 0.5:
                chosen.append(chance.choice([room for room in rooms if room not in chosen]))
            pause = count / (RATE * chance.uniform(0.5, 1.5))
            name = f"c{number + 1}"
            door = DOORS[number // ONE_IN % len(DOORS)] if number % ONE_IN == ONE_IN - 1 else None
            plans.append(ClientPlan(name, chosen, pause, f"{seed} {name}", door))
        self.dialects = {plan.name: ClientDialect.FRAMES if plan.door is None else ClientDialect.JSON for plan in plans}
        self.names = list(self.dialects)
        self._plans = [plans[first : first + TOGETHER] for first in range(0, count, TOGETHER)]
        self._parts = [
            cluster.add(f"clients-{number}", module(client_process.__name__)) for number, _ in enumerate(self._plans, 1)
        ]

    def enter(self) -> None:
        """Let all clients enter; raises ParlourError with the first error."""
        self._cluster.start(self._parts)
        self._ask(
            [EnterCluster(self._cluster.brokers, self._cluster.nodes, plans) for plans in self._plans],
            Done,
            client_process.ENTERED + ANSWERING,
        )

    def talk(self) -> None:
        """Let all clients begin to post."""
        self._ask_all(StartTalking(), Done)

    def stop_talking(self) -> None:
        """Let all clients stop posting."""
        self._ask_all(StopTalking(), Done)

    def leave(self) -> None:
        """Let all clients leave; raises ParlourError if one cannot."""
        self._ask_all(LeaveCluster(), Done, 2 * client_process.PARTED + ANSWERING)

    def at(self, node: str) -> tuple[str, ...]:
        """Return the names of the clients at a node."""
        return tuple(name for answer in self._ask_all(Locate(node), Located) for name in answer.names)

    def answered(self, timeout: float) -> bool:
        """Wait until no client posts and all posts are answered, at most `timeout` seconds; return whether so."""
        return self._until(lambda: not any(report.waiting for report in self._report()), timeout)

    def heard_out(self, tops: dict[str, int]) -> None:
        """Wait until every member has seen the last record of its rooms, or until nobody sees a new one any more."""

        def missing() -> int:
            return sum(
                max(0, tops[room] - last)
                for report in self._report()
                for room, offsets in report.seen.items()
                for last in offsets
            )

        def fewer(than: int) -> bool:
            return self._until(lambda: missing() < than, STUCK)

        while (left := missing()) and fewer(left):
            pass

    def acknowledged(self) -> dict[str, int]:
        """Return the highest offset in each room at which a post was acknowledged."""
        reports = self._report()
        return {room: max(report.acknowledged.get(room, 0) for report in reports) for room in self._rooms}

    def recollection(self) -> Recollection:
        """Return everything that the clients remember."""
        files = [self._cluster.folder / f"{part.name}.record" for part in self._parts]
        self._ask([Save(str(file)) for file in files], Done, WRITING)
        return Recollection([msgspec.msgpack.decode(file.read_bytes(), type=Memories) for file in files])

    def _report(self) -> list[Progress]:
        return self._ask_all(AskProgress(), Progress)

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline or self._stop.wait(LOOK):
                return False
        return True

    def _ask_all(self, request: Request, expected: type[T], timeout: float = ANSWERING) -> list[T]:
        return self._ask([request] * len(self._parts), expected, timeout)

    def _ask(self, requests: Sequence[Request], expected: type[T], timeout: float = ANSWERING) -> list[T]:
        """Return the answer of each process to its request; raises ParlourError if one fails or does not answer."""
        with self._asking:
            answers = ask_parts(self._parts, requests, timeout)
        return [answer for answer in answers if isinstance(answer, expected)]
