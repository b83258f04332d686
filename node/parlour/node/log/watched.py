"""A room log that notes its failures, so that the node can report them to operators.

This module owns the health of the log; any thread may call it. It must never change an engine's answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from parlour.node.log import Appended, Extent, LogError, Post, RoomLog, StateVersion
from parlour.wire.messages import Message

__all__ = ["WatchedLog"]

T = TypeVar("T")

NOTED = 1000
"""Most rooms with a noted failure: when a log is away, all rooms fail alike."""

STALE = 15.0
"""Seconds after which a failure that did not recur is forgotten: perhaps nobody uses that room any more.

This is longer than the time between two attempts of a client that posts again: an engine may take 5 s to give up.
"""

CHECK = ""
"""The key of failures that concern the whole log, in the place of a room's name."""


class _Failure(NamedTuple):
    since: float  # monotonic, in seconds
    last: float
    text: str


class WatchedLog:
    """An engine with its failures; `RoomLog` documents the methods that call the engine.

    Failures are noted by room, since a part of a Redis Cluster may fail while the rest works.

    Attributes:
        errors: number of failed calls.
    """

    def __init__(self, engine: RoomLog) -> None:
        self.engine = engine
        self.errors = 0
        self._failures: dict[str, _Failure] = {}  # single operations on it are atomic

    def failure(self) -> tuple[float, str] | None:
        """Return since when the log fails (monotonic, seconds) and its last error; None if it works."""
        now = time.monotonic()
        for room, failure in list(self._failures.items()):
            if now - failure.last > STALE:
                self._failures.pop(room, None)
        failures = list(self._failures.values())
        return (min(failure.since for failure in failures), failures[-1].text) if failures else None

    @property
    def identity(self) -> str:
        """The log's name; see `RoomLog.identity`."""
        return self.engine.identity

    @property
    def remark(self) -> str:
        """A line for the operator; see `RoomLog.remark`."""
        return self.engine.remark

    def now(self) -> int:
        """Return the log's own time."""
        return self._call(CHECK, self.engine.now)

    def check(self) -> None:
        """Raise LogError if the log does not answer."""
        self._call(CHECK, self.engine.check)

    def append(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> list[Appended]:
        """Log the posts; StaleStateError is no failure."""
        return self._call(room, self.engine.append, room, posts, checked, state)

    def state(self, room: str) -> tuple[int, bytes]:
        """Return the room's state."""
        return self._call(room, self.engine.state, room)

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset."""
        return self._call(room, self.engine.read, room, after, limit)

    def extent(self, room: str) -> Extent:
        """Return which offsets the room keeps."""
        return self._call(room, self.engine.extent, room)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms."""
        return self._call(CHECK, self.engine.rooms, after, limit)

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages."""
        return self._call(room, self.engine.trim, room, keep, before, limit)

    def hasten(self) -> None:
        """From now on wait only a moment for other programs."""
        self.engine.hasten()

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _call(self, room: str, method: Callable[..., T], *arguments: object) -> T:
        try:
            result = method(*arguments)
        except LogError as error:
            self._note(room, str(error))
            raise
        if self._failures:
            self._failures.pop(room, None)
        return result

    def _note(self, room: str, text: str) -> None:
        now = time.monotonic()
        self.errors += 1
        known = self._failures.get(room)
        if known is not None or len(self._failures) < NOTED:
            self._failures[room] = _Failure(known.since if known is not None else now, now, text)
