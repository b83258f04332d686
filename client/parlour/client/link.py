"""One connection of a chat as its rooms know it: which of them it brings, in which epoch, and whether it still counts.

This module owns what is known of a connection besides its socket; each field says whose thread may touch it. It must
never raise because a connection broke: that is told by the connection's reader thread, once.
"""

from __future__ import annotations

import time

from parlour.client.compatibility import understood
from parlour.client.connection import Connection
from parlour.client.errors import DisconnectedError, NodeError
from parlour.wire import messages as wire

__all__ = ["Link"]


class Link:
    """One connection of the chat, and which rooms it brings."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.node = connection.welcome.node
        self.connection = connection
        self._number = number
        self.since = time.monotonic()
        self.over = False  # lost, or another took its place
        self.epochs: dict[str, str] = {}  # of each room's messages; the reader thread's alone
        # The rest is the keeper thread's alone.
        self.joined: set[str] = set()
        self._asked: set[str] = set()
        self._again: dict[str, float] = {}  # rooms to join once more, and when

    def newer_than(self, other: Link) -> bool:
        """Whether this one counts more than the other, which told something just now."""
        return other.over or (not self.over and self._number > other._number)

    def send(self, message: wire.ClientMessage) -> None:
        """Send if that is possible; if it is not, the reader thread tells the keeper."""
        try:
            self.connection.send(message)
        except DisconnectedError:
            pass

    def post(self, say: wire.Say) -> NodeError | None:
        """Send a post, in words that the node understands; return why there are none."""
        post = understood(say, self.node, self.connection.welcome.protocol)
        if isinstance(post, NodeError):
            return post
        self.send(post)
        return None

    # --- for the keeper's thread ------------------------------------------------------------------------------

    @property
    def asked(self) -> frozenset[str]:
        """The rooms that were asked for here, and not left since."""
        return frozenset(self._asked)

    @property
    def brings_all(self) -> bool:
        """Whether every room that was asked for is joined."""
        return self._asked <= self.joined

    def join(self, join: wire.Join) -> None:
        """Ask for a room."""
        self._asked.add(join.room)
        self.send(join)

    def leave(self, room: str) -> None:
        """Ask to be let out of a room."""
        self.send(wire.Leave(room))

    def left(self, room: str) -> None:
        """Note that a room was left."""
        self._asked.discard(room)
        self.joined.discard(room)

    def join_later(self, room: str, at: float) -> None:
        """Note that a room is to be joined once more, at this time (monotonic)."""
        self._again[room] = at

    def due(self) -> float:
        """Return when the next room is to be joined once more."""
        return min(self._again.values(), default=float("inf"))

    def take_due(self, now: float) -> list[str]:
        """Return the rooms that are to be joined once more by now, each of them once."""
        due = [room for room, at in self._again.items() if at <= now]
        for room in due:
            del self._again[room]
        return due
