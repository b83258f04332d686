"""A room log in this process's memory, for tests and for measuring what the others cost.

This module owns the engine behind `memory://`; any thread may call it. It must never be used by nodes in several
processes: each would have a log of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from weakref import WeakValueDictionary

from parlour.node.log import Appended, Position, Post
from parlour.runtime.locks import make_lock
from parlour.wire.messages import Message

__all__ = ["MemoryLog"]


@dataclass
class _Shelf:
    """One room's messages, the one with offset N at index N - 1, and the index of each post."""

    messages: list[Message] = field(default_factory=list)
    posts: dict[tuple[str, int], int] = field(default_factory=dict)


class MemoryLog:
    """The engine behind `memory://`."""

    _named: ClassVar[WeakValueDictionary[str, MemoryLog]] = WeakValueDictionary()

    def __init__(self) -> None:
        # Guards _shelves and what is on them. Rank 70.
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

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts; see `RoomLog.append`."""
        appended: list[Appended] = []
        with self._mutex:
            shelf = self._shelves.setdefault(room, _Shelf())
            for post in posts:
                key = (post.session, post.id)
                index = shelf.posts.get(key)
                duplicate = index is not None
                if index is None:
                    index = shelf.posts[key] = len(shelf.messages)
                    shelf.messages.append(
                        Message(room, index + 1, f"{post.session}-{post.id}", post.by, post.at, post.text)
                    )
                appended.append(Appended(self._epoch, index + 1, shelf.messages[index].at, duplicate))
        return appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        with self._mutex:
            shelf = self._shelves.get(room)
            return shelf.messages[after : after + limit] if shelf else []

    def top(self, room: str) -> Position:
        """Return the room's last position; see `RoomLog.top`."""
        with self._mutex:
            shelf = self._shelves.get(room)
            return Position(self._epoch, len(shelf.messages) if shelf else 0)

    def close(self) -> None:
        """Nothing is open; the messages live as long as somebody holds the log."""
