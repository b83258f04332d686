"""One process of a round's clients: they come in together, talk, fall silent and go.

This module owns the clients' threads and the one that hears for all of them; the main thread takes the round's requests
from standard input and answers each on standard output. The end of standard input ends the process. It must never help
a client: what the library does is what is on trial.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from parlour.chaos.judge import Line
from parlour.chaos.record import Record, memory
from parlour.chaos.requests import (
    Answer,
    Come,
    Done,
    Failed,
    Guest,
    Hush,
    Leave,
    Look,
    Request,
    Sight,
    Talk,
    Where,
    Whereabouts,
    Write,
)
from parlour.chaos.talker import Talker
from parlour.runtime.descriptors import raise_limit
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["ENTERED", "PARTED", "Party"]

GATES = 4
"""Clients that come in, or go, at the same time."""

ENTERED = 120.0
"""Seconds that all have to come in."""

PARTED = 60.0
"""Seconds that all have to go."""

HEARING = 0.05
"""Seconds between two hearings; a message is held for as much later than it came."""

STACK = 256 * 1024
"""Bytes of stack for each thread: a client has three or four."""

SWITCH = 0.05
"""Seconds that a thread waits for the interpreter before it asks for it; hundreds asking every 5 ms do little else."""


class Party:
    """The clients of this process."""

    def __init__(self) -> None:
        self._talkers: list[Talker] = []
        self._silence = threading.Event()
        self._deaf = threading.Event()
        self._ears: threading.Thread | None = None

    def do(self, request: Request) -> Answer:
        """Do what the round asks for, and return the answer."""
        try:
            match request:
                case Come():
                    self._come(request.brokers, request.guests)
                case Talk():
                    for talker in self._talkers:
                        talker.talk(self._silence)
                case Hush():
                    self._silence.set()
                case Where():
                    return Whereabouts([talker.name for talker in self._talkers if talker.node == request.node])
                case Look():
                    return self._look()
                case Write():
                    Path(request.file).write_bytes(msgspec.msgpack.encode(self._record()))
                case Leave():
                    self._leave()
        except ParlourError as error:
            return Failed(str(error))
        return Done()

    def _come(self, brokers: Sequence[str], guests: Sequence[Guest]) -> None:
        lines: dict[Line, Line] = {}
        self._talkers = [Talker(guest.name, guest.rooms, guest.pause, guest.seed, lines) for guest in guests]
        self._at_gates(lambda talker: talker.enter(brokers), ENTERED)
        self._ears = spawn("ears", self._hear)

    def _leave(self) -> None:
        self._silence.set()
        self._deaf.set()
        if self._ears is not None:
            join_all([self._ears], PARTED)
        self._at_gates(Talker.close, PARTED)

    def _at_gates(self, do: Callable[[Talker], None], timeout: float) -> None:
        """Do it to all clients, several at a time; raises the first error, with which it ends."""
        waiting = list(reversed(self._talkers))
        errors: list[ParlourError] = []

        def gate() -> None:
            while not errors:
                try:
                    do(waiting.pop())
                except IndexError:
                    return  # Another took the last one.
                except ParlourError as error:
                    errors.append(error)

        join_all([spawn(f"gate-{number + 1}", gate) for number in range(GATES)], timeout)
        if errors:
            raise errors[0]

    def _hear(self) -> None:
        # One thread for all, again and again: one for each room would have to be woken for every message.
        while not self._deaf.wait(HEARING):
            for talker in self._talkers:
                talker.hear()

    def _look(self) -> Sight:
        acknowledged: dict[str, int] = {}
        seen: dict[str, list[int]] = {}
        for talker in self._talkers:
            for room, membership in talker.rooms.items():
                seen.setdefault(room, []).append(membership.lines[-1].offset if membership.lines else 0)
                top = max((said.offset or 0 for said in membership.said()), default=0)
                acknowledged[room] = max(top, acknowledged.get(room, 0))
        return Sight(sum(talker.waiting for talker in self._talkers), acknowledged, seen)

    def _record(self) -> Record:
        places: dict[Line, int] = {}
        memories = [
            memory(talker.name, room, each.said(), each.lines, each.times, places)
            for talker in self._talkers
            for room, each in talker.rooms.items()
        ]
        return Record(
            table=list(places),
            memories=memories,
            returns=sum(talker.returns for talker in self._talkers),
            troubles=[trouble for talker in self._talkers for trouble in talker.troubles()],
        )


def _main() -> None:
    raise_limit()
    threading.stack_size(STACK)
    sys.setswitchinterval(SWITCH)
    party = Party()
    print("ready", flush=True)
    for line in sys.stdin.buffer:
        request: Request = msgspec.json.decode(line, type=Request)
        print(msgspec.json.encode(party.do(request)).decode(), flush=True)


if __name__ == "__main__":
    _main()
