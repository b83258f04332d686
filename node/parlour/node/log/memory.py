"""A room log in the memory of this process, for tests and as the baseline when other engines are measured.

This module owns the engine behind `memory://`; any thread may call it. It must never be used by nodes in several
processes: each would have a log of its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple
from weakref import WeakValueDictionary

from msgspec.structs import replace

from parlour.node.log import (
    Appended,
    Extent,
    Post,
    RichPost,
    StaleStateError,
    StateVersion,
    old_enough,
    settled_time,
)
from parlour.runtime.locks import make_lock
from parlour.wire.messages import Message, erased
from parlour.wire.records import EDIT, GONE, REACT, REDACT

__all__ = ["MemoryLog"]


class _Place(NamedTuple):
    """Where and when a post was logged."""

    offset: int
    at: int


@dataclass
class _Shelf:
    """One room's messages after offset `trimmed`, the place of each post, and the room's state."""

    trimmed: int = 0
    at: int = 0  # time of the last message, even if that is forgotten
    messages: list[Message] = field(default_factory=list)
    posts: dict[tuple[str, int], _Place] = field(default_factory=dict)
    version: int = 0
    state: bytes = b""

    @property
    def top(self) -> int:
        return self.trimmed + len(self.messages)

    def log(self, room: str, place: _Place, post: Post) -> None:
        """Add a new post; if it is a redaction, delete its record."""
        message = Message(room, place.offset, f"{post.session}-{post.id}", post.by, place.at, post.text)
        if isinstance(post, RichPost):
            message = replace(message, kind=post.kind, ref=post.ref, account=post.account, data=post.data)
        self.messages.append(message)
        if message.kind == REDACT and self.trimmed < message.ref < place.offset:
            self._delete(message.ref)

    def refuses(self, post: Post) -> bool:
        """Return whether a new post is about a record that is deleted."""
        return (
            isinstance(post, RichPost)
            and post.kind in (EDIT, REACT)
            and self.trimmed < post.ref <= self.top
            and self.messages[post.ref - self.trimmed - 1].kind == GONE
        )

    def _delete(self, offset: int) -> None:
        """Delete the text of a record, and of its edits."""
        index = offset - self.trimmed - 1
        if self.messages[index].kind == GONE:
            return
        for number, message in enumerate(self.messages):
            if number == index or (message.kind == EDIT and message.ref == offset):
                self.messages[number] = erased(message)


_EMPTY = _Shelf()


class MemoryLog:
    """The engine behind `memory://`."""

    _named: ClassVar[WeakValueDictionary[str, MemoryLog]] = WeakValueDictionary()

    def __init__(self) -> None:
        # Guards _shelves and their contents. Rank 70.
        self._mutex = make_lock(70, "memory log")
        self._shelves: dict[str, _Shelf] = {}
        self.identity = f"memory-{secrets.token_hex(8)}"
        self._epoch = secrets.token_hex(4)

    @classmethod
    def named(cls, name: str) -> MemoryLog:
        """Return the log of this name in this process; with an empty name, a new one each time."""
        if not name:
            return cls()
        return cls._named.setdefault(name, cls())

    def now(self) -> int:
        """Return this machine's time; see `RoomLog.now`."""
        return time.time_ns() // 1_000_000

    def check(self) -> None:
        """Do nothing: memory always answers; see `RoomLog.check`."""

    @property
    def remark(self) -> str:
        """Empty: everybody expects that memory ends with the process; see `RoomLog.remark`."""
        return ""

    def append(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> list[Appended]:
        """Log the posts; see `RoomLog.append`."""
        appended: list[Appended] = []
        with self._mutex:
            shelf = self._shelves.setdefault(room, _Shelf())
            if checked is not None and checked != (self._epoch, shelf.version):
                raise StaleStateError(StateVersion(self._epoch, shelf.version), shelf.state)
            now = self.now()
            for post in posts:
                key = (post.session, post.id)
                known = shelf.posts.get(key)
                if known is None and shelf.refuses(post):
                    appended.append(Appended(self._epoch, 0, 0, True))
                    continue
                place = known or _Place(shelf.top + 1, settled_time(post.at, shelf.at, now))
                if known is None:
                    shelf.at = place.at
                    shelf.posts[key] = place
                    shelf.log(room, place, post)
                appended.append(Appended(self._epoch, place.offset, place.at, known is not None))
            if state and not appended[-1].duplicate:
                shelf.version, shelf.state = appended[-1].offset, state
        return appended

    def state(self, room: str) -> tuple[int, bytes]:
        """Return the room's state; see `RoomLog.state`."""
        with self._mutex:
            shelf = self._shelves.get(room, _EMPTY)
            return shelf.version, shelf.state

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        with self._mutex:
            shelf = self._shelves.get(room, _EMPTY)
            start = max(0, after - shelf.trimmed)
            return shelf.messages[start : start + limit]

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; see `RoomLog.extent`."""
        with self._mutex:
            shelf = self._shelves.get(room, _EMPTY)
            return Extent(self._epoch, shelf.trimmed, shelf.top)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`."""
        with self._mutex:
            return sorted(room for room in self._shelves if room > after)[:limit]

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages; see `RoomLog.trim`."""
        with self._mutex:
            shelf = self._shelves.get(room, _EMPTY)
            most = shelf.messages[: max(0, len(shelf.messages) - keep)]
            count = min(limit, old_enough((message.at for message in most), before, self.now()))
            for message in shelf.messages[:count]:
                session, _, number = message.id.rpartition("-")
                del shelf.posts[session, int(number)]
            del shelf.messages[:count]
            shelf.trimmed += count
            return count == limit

    def hasten(self) -> None:
        """Do nothing: no other program can hold a lock on it."""

    def close(self) -> None:
        """Do nothing: the messages live as long as somebody refers to the log."""
