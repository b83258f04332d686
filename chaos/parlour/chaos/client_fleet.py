"""All the clients of a round: they come in together, talk, fall silent and are heard out.

This module owns who is in which room and who talks how much, both by the seed, and the talk with the processes that
the clients live in. The round's thread calls it, and `at` those that carry out faults. It must never give up early on
what is late.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from parlour.chaos import client_process
from parlour.chaos.cluster import Cluster
from parlour.chaos.memories import Memories, Recollection
from parlour.chaos.mix import Dialect
from parlour.chaos.part import module
from parlour.chaos.requests import (
    Answer,
    ClientPlan,
    Done,
    Door,
    Enter,
    Failed,
    Leave,
    Locate,
    Located,
    Progress,
    Report,
    Request,
    Save,
    StartTalking,
    StopTalking,
)
from parlour.runtime.locks import make_lock
from parlour.wire.errors import ParlourError

__all__ = ["RATE", "ClientFleet"]

RATE = 200.0
"""Messages a second that all clients say together, on average."""

TOGETHER = 125
"""Clients that share a process, at most."""

ANSWERING = 30.0
"""Seconds that a process of clients has to answer, however busy it is."""

WRITING = 180.0
"""Seconds that it has to write down what its clients remember: of ten minutes, millions of lines."""

ONE_IN = 3
"""One client in so many speaks JSON lines."""

DOORS = tuple(Door)
"""The ways in of those, in turn."""

STUCK = 4.0
"""Seconds without a message to anybody after which those who miss some will not see them any more."""

LOOK = 0.1
"""Seconds between two looks whether all is quiet."""

T = TypeVar("T", bound=Answer)


class ClientFleet:
    """Clients `c1`, `c2`, …, each in a room or two of `rooms`, which have none but them.

    Attributes:
        names: what the clients are called.
        dialects: what each of them speaks, by name.
    """

    def __init__(self, cluster: Cluster, count: int, rooms: Sequence[str], seed: int, stop: threading.Event) -> None:
        """Prepare the clients of a cluster; `stop` makes every wait give up."""
        self._rooms = rooms
        self._cluster = cluster
        self._stop = stop
        # Guards the talk with the processes, questions and their answers. Rank 20.
        self._asking = make_lock(20, "clients")
        chance = random.Random(seed)
        plans: list[ClientPlan] = []
        for number in range(count):
            # Each room has somebody in it, if there are clients enough; some clients are in two.
            chosen = [rooms[number % len(rooms)]]
            if len(rooms) > 1 and chance.random() < 0.5:
                chosen.append(chance.choice([room for room in rooms if room not in chosen]))
            pause = count / (RATE * chance.uniform(0.5, 1.5))
            name = f"c{number + 1}"
            door = DOORS[number // ONE_IN % len(DOORS)] if number % ONE_IN == ONE_IN - 1 else None
            plans.append(ClientPlan(name, chosen, pause, f"{seed} {name}", door))
        self.dialects = {plan.name: Dialect.FRAMES if plan.door is None else Dialect.JSON for plan in plans}
        self.names = list(self.dialects)
        self._plans = [plans[first : first + TOGETHER] for first in range(0, count, TOGETHER)]
        self._parts = [
            cluster.add(f"clients-{number}", module(client_process.__name__)) for number, _ in enumerate(self._plans, 1)
        ]

    def come(self) -> None:
        """Let all come in; raises ParlourError with what went wrong for the first that could not."""
        self._cluster.start(self._parts)
        self._ask(
            [Enter(self._cluster.brokers, self._cluster.nodes, plans) for plans in self._plans],
            Done,
            client_process.ENTERED + ANSWERING,
        )

    def talk(self) -> None:
        """Let all begin to talk."""
        self._ask_all(StartTalking(), Done)

    def stop_talking(self) -> None:
        """Let nobody say anything more."""
        self._ask_all(StopTalking(), Done)

    def leave(self) -> None:
        """Let all go; raises ParlourError if one cannot."""
        self._ask_all(Leave(), Done, 2 * client_process.PARTED + ANSWERING)

    def at(self, node: str) -> tuple[str, ...]:
        """Return the names of the clients at a node."""
        return tuple(name for answer in self._ask_all(Locate(node), Located) for name in answer.names)

    def answered(self, timeout: float) -> bool:
        """Wait until nobody talks and every post has come to its end; return whether so within so many seconds."""
        return self._until(lambda: not any(report.waiting for report in self._report()), timeout)

    def heard_out(self, tops: dict[str, int]) -> None:
        """Wait until every member of each room has seen its last message, or for long nobody saw anything more."""

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
        """Return all that the clients remember."""
        files = [self._cluster.folder / f"{part.name}.record" for part in self._parts]
        self._ask([Save(str(file)) for file in files], Done, WRITING)
        return Recollection([msgspec.msgpack.decode(file.read_bytes(), type=Memories) for file in files])

    def _report(self) -> list[Progress]:
        return self._ask_all(Report(), Progress)

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline or self._stop.wait(LOOK):
                return False
        return True

    def _ask_all(self, request: Request, expected: type[T], timeout: float = ANSWERING) -> list[T]:
        return self._ask([request] * len(self._parts), expected, timeout)

    def _ask(self, requests: Sequence[Request], expected: type[T], timeout: float = ANSWERING) -> list[T]:
        """Return what the processes answer, each to its request; raises ParlourError if one does not, or has failed."""
        with self._asking:
            try:
                for part, request in zip(self._parts, requests, strict=True):
                    part.tell(msgspec.json.encode(request).decode())
                answers = [msgspec.json.decode(part.hear(timeout), type=Answer) for part in self._parts]
            except ParlourError:
                # An answer that comes too late must not be taken for that to the next request.
                for part in self._parts:
                    part.kill()
                raise
        for part, answer in zip(self._parts, answers, strict=True):
            if isinstance(answer, Failed):
                raise ParlourError(f"{part.name}: {answer.text}")
        return [answer for answer in answers if isinstance(answer, expected)]
