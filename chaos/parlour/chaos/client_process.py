"""One process of a round's clients, which does what the round requests.

This module owns the clients and the thread that reads events for all of them. The main thread reads requests from
standard input and answers each on standard output; the end of standard input ends the process. It must never help a
client: the clients are on trial.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from parlour.chaos.exchange import serve
from parlour.chaos.memories import Memories, Tables
from parlour.chaos.records import Record
from parlour.chaos.requests import (
    Answer,
    AskProgress,
    Done,
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
from parlour.chaos.simulated_client import SimulatedClient
from parlour.runtime.descriptors import raise_limit
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["ENTERED", "PARTED", "ClientProcess"]

ARRIVALS = 4
"""Clients that enter, or leave, at the same time."""

ENTERED = 120.0
"""Seconds within which all clients must have entered."""

PARTED = 60.0
"""Seconds within which all clients must have left."""

READING = 0.05
"""Seconds between two readings of events; a record may seem so much later than it came."""

STACK = 256 * 1024
"""Bytes of stack for each thread: a client has up to four threads."""

SWITCH = 0.05
"""Seconds that a thread waits for the interpreter before it asks for it: hundreds that ask each 5 ms do little else."""


class ClientProcess:
    """The clients of this process."""

    def __init__(self) -> None:
        self._clients: list[SimulatedClient] = []
        self._quiet = threading.Event()
        self._leaving = threading.Event()
        self._event_reader: threading.Thread | None = None

    def do(self, request: Request) -> Answer:
        """Do what a request asks for, and return the answer; raises ParlourError."""
        match request:
            case EnterCluster():
                self._enter(request)
            case StartTalking():
                for client in self._clients:
                    client.talk(self._quiet)
            case StopTalking():
                self._quiet.set()
            case Locate():
                return Located([client.name for client in self._clients if client.node == request.node])
            case AskProgress():
                return self._report()
            case Save():
                Path(request.file).write_bytes(msgspec.msgpack.encode(self._remember()))
            case LeaveCluster():
                self._leave()
        return Done()

    def _enter(self, request: EnterCluster) -> None:
        records: dict[Record, Record] = {}
        self._clients = [SimulatedClient(plan, request.brokers, request.nodes, records) for plan in request.plans]
        self._in_parallel(SimulatedClient.enter, ENTERED)
        self._event_reader = spawn("event-reader", self._read_events)

    def _leave(self) -> None:
        self._quiet.set()
        self._leaving.set()
        if self._event_reader is not None:
            join_all([self._event_reader], PARTED)
        self._in_parallel(SimulatedClient.close, PARTED)

    def _in_parallel(self, do: Callable[[SimulatedClient], None], timeout: float) -> None:
        """Do this to all clients, several at a time; stops at the first error and raises it."""
        waiting = list(reversed(self._clients))
        errors: list[ParlourError] = []

        def arrive() -> None:
            """Let the clients of this process come or go, one after the other, until none is left."""
            while not errors:
                try:
                    do(waiting.pop())
                except IndexError:
                    return  # Another thread took the last client.
                except ParlourError as error:
                    errors.append(error)

        join_all([spawn(f"arrivals-{number + 1}", arrive) for number in range(ARRIVALS)], timeout)
        if errors:
            raise errors[0]

    def _read_events(self) -> None:
        """Let each client take what has come for it, again and again, until the clients leave."""
        # One thread reads for all clients at intervals: a thread for each room would wake up for every record.
        while not self._leaving.wait(READING):
            for client in self._clients:
                client.hear()

    def _report(self) -> Progress:
        acknowledged: dict[str, int] = {}
        seen: dict[str, list[int]] = {}
        for client in self._clients:
            for room, membership in client.rooms.items():
                seen.setdefault(room, []).append(membership.records[-1].offset if membership.records else 0)
                top = max((post.logged.offset for post in membership.posts if post.logged is not None), default=0)
                acknowledged[room] = max(top, acknowledged.get(room, 0))
        return Progress(sum(client.waiting for client in self._clients), acknowledged, seen)

    def _remember(self) -> Memories:
        tables = Tables()
        memories = [
            tables.memory(
                client.name,
                room,
                [post.said() for post in membership.posts],
                membership.records,
                membership.times,
                client.shown(room),
            )
            for client in self._clients
            for room, membership in client.rooms.items()
        ]
        troubles = [trouble for client in self._clients for trouble in client.troubles()]
        return tables.memories(memories, sum(client.returns for client in self._clients), troubles)


def _main() -> None:
    raise_limit()
    threading.stack_size(STACK)
    sys.setswitchinterval(SWITCH)
    serve(ClientProcess().do)


if __name__ == "__main__":
    _main()
