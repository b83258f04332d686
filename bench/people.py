"""Measurements with many accounts and with many rooms that have a state: what is not there must cost nothing.

This module fills a directory and a room log, and measures what a person waits for, on two clusters in turn: one with
ten accounts and rooms, and one with many. It runs on the bench's own thread.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.cluster import Parlour, RedisLog
from bench.machine import resident
from bench.scale import Finding
from bench.series import show_progress
from parlour.client import connect
from parlour.directory.directory import Directory
from parlour.directory.opening import open_store
from parlour.node.log import RichPost, StateVersion
from parlour.node.log.opening import open_log
from parlour.wire.messages import Message
from parlour.wire.people import Person
from parlour.wire.room_state import EMPTY, fold
from parlour.wire.state_posts import founding_post

__all__ = ["Crowd", "crowd_findings"]

T = TypeVar("T")

FEW = 10
"""Accounts, and rooms with a state, of the cluster that the others are compared with; so many are used in both."""


class Crowd(NamedTuple):
    """The numbers of accounts and of rooms with a state; small values only check that everything works."""

    accounts: int = 100_000
    rooms: int = 20_000
    rounds: int = 300


class _Populated(Parlour):
    """Parlour with a directory and a log that were filled before it starts."""

    crowd: Crowd
    people: list[tuple[str, str]]
    """Names and device tokens of accounts."""
    rooms: list[str]

    def log(self) -> str:
        """Return the URL of the log, when all is filled."""
        url = super().log()
        self._fill(url)
        return url

    def _fill(self, url: str) -> None:
        accounts, rooms, _ = self.crowd
        chosen = set(random.sample(range(accounts), FEW))
        self.people = []
        with closing(open_store(url)) as store:
            directory = Directory(store)
            for number in range(accounts):
                name = f"user{number}"
                directory.accounts.add(name, None)
                if number in chosen:
                    self.people.append((name, directory.tokens.make(name, "bench")))
        with closing(open_log(url)) as log:
            for number in range(rooms):
                owner = Person(f"user{number % accounts}", f"user{number % accounts}")
                text, data = founding_post(owner)
                post = RichPost("bench", number + 1, owner.name, 1, text, "role", 0, owner.account, data)
                room = f"room{number}"
                record = Message(room, 1, "bench-1", post.by, 1, text, post.kind, 0, post.account, data)
                state = fold(EMPTY, record).encode()
                log.append(room, [post], StateVersion(log.extent(room).epoch, 0), state)
        self.rooms = [f"room{number}" for number in random.sample(range(rooms), FEW)]


class _OnSqlite(_Populated):
    """On the default log."""


class _OnRedis(_Populated, RedisLog):
    """On a Redis."""


def crowd_findings(crowd: Crowd) -> Iterator[Finding]:
    """Measure on each engine, and yield what is found."""
    for engine, kind in (("SQLite", _OnSqlite), ("Redis", _OnRedis)):
        with ExitStack() as running:
            servers: list[_Populated] = []
            for size in (Crowd(FEW, FEW, crowd.rounds), crowd):
                show_progress(f"{engine}: {size.accounts} accounts and {size.rooms} rooms are made")
                folder = running.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
                server = kind(Path(folder))
                server.crowd = size
                servers.append(running.enter_context(server))
            yield from _compare(engine, servers, crowd)


def _compare(engine: str, servers: list[_Populated], crowd: Crowd) -> Iterator[Finding]:
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ("sign in", "join", "post")}
    for turn in range(crowd.rounds):
        for place in (0, 1) if turn % 2 else (1, 0):
            for name, seconds in _visit(servers[place], turn):
                times[name][place].append(seconds)
    who = f"{crowd.accounts:,} accounts and {crowd.rooms:,} rooms on {engine}"
    for name, (few, many) in times.items():
        one, other = statistics.median(few), statistics.median(many)
        figure = f"{1000 * one:.2f} → {1000 * other:.2f} ms, {other / one:.2f} times"
        yield Finding(f"{who}: {name}, beside {FEW} of each", figure, "1.2 times")
    few, many = ([resident(server.pids[-1:]) / 1024, _timed(server.add_node)[1]] for server in servers)
    yield Finding(f"{who}: resident memory of the node", f"{few[0]:,.0f} → {many[0]:,.0f} KiB", "no more")
    yield Finding(f"{who}: start of a node", f"{few[1]:.2f} → {many[1]:.2f} s", "2 s")


def _visit(server: _Populated, turn: int) -> Iterator[tuple[str, float]]:
    """Let somebody sign in, join a room and say something; yield how long each took, in seconds."""
    name, token = server.people[turn % len(server.people)]
    room = server.rooms[turn % len(server.rooms)]
    chat, seconds = _timed(lambda: connect(server.broker, name, token=token))
    yield "sign in", seconds
    with chat:
        joined, seconds = _timed(lambda: chat.join(room))
        yield "join", seconds
        yield "post", _timed(lambda: joined.say("hello"))[1]


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began
