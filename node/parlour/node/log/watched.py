"""A room log whose failures are noted, so that they can be told to those who watch over it.

This module owns what is known of how the log does; any thread may call it. It must never change an engine's answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from parlour.node.log import Appended, Extent, LogError, Post, RoomLog
from parlour.wire.messages import Message

__all__ = ["WatchedLog"]

T = TypeVar("T")

NOTED = 1000
"""Rooms whose failure is noted at most: where a log is away, they are all alike."""

STALE = 15.0
"""Seconds after which a failure that did not come again is forgotten: nobody may ask for that room any more.

More than pass between two failures of a client that sends its post again: an engine may take 5 s until it gives up.
"""

CHECK = ""
"""What stands for a room where the log itself was asked how it does."""


class _Failure(NamedTuple):
    since: float  # monotonic, in seconds
    last: float
    text: str


class WatchedLog:
    """An engine, and what of it fails; see `RoomLog` for the methods that it hands on.

    Failures are noted by room, since of a Redis Cluster some rooms may be away and others not.

    Attributes:
        errors: how many calls have failed.
    """

    def __init__(self, engine: RoomLog) -> None:
        self.engine = engine
        self.errors = 0
        self._failures: dict[str, _Failure] = {}  # single operations on it are atomic

    def failure(self) -> tuple[float, str] | None:
        """Return since when (monotonic, seconds) the log fails, and the last that was said; None if all is well."""
        now = time.monotonic()
        for room, failure in list(self._failures.items()):
            if now - failure.last > STALE:
                self._failures.pop(room, None)
        failures = list(self._failures.values())
        return (min(failure.since for failure in failures), failures[-1].text) if failures else None

    @property
    def identity(self) -> str:
        """The log's name."""
        return self.engine.identity

    @property
    def remark(self) -> str:
        """What its operator should know."""
        return self.engine.remark

    def now(self) -> int:
        """Return the log's own time."""
        return self._call(CHECK, self.engine.now)

    def check(self) -> None:
        """See whether the log can be asked."""
        self._call(CHECK, self.engine.check)

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts."""
        return self._call(room, self.engine.append, room, posts)

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset."""
        return self._call(room, self.engine.read, room, after, limit)

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room."""
        return self._call(room, self.engine.extent, room)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms."""
        return self._call(CHECK, self.engine.rooms, after, limit)

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages."""
        return self._call(room, self.engine.trim, room, keep, before, limit)

    def hasten(self) -> None:
        """Wait no longer than a moment."""
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
