"""One connection of a chat to a node: which rooms it carries, in which epoch, and whether it still counts.

This module owns what is known of a connection besides its socket; each field says which thread may use it. It must
never raise an error because a connection broke: the connection's reader thread tells that, once.
"""

from __future__ import annotations

import time

from parlour.client.compatibility import understood
from parlour.client.connection import Connection
from parlour.client.errors import DisconnectedError, NodeError
from parlour.wire import messages as wire

__all__ = ["NodeLink"]


class NodeLink:
    """A connection of the chat and the rooms that it carries; the `number` counts the chat's connections.

    Attributes:
        node: the node's name.
        connection: the connection itself.
        since: when it was opened, in monotonic seconds.
        over: whether it was lost, or another took its place.
        epochs: the epoch of each room's messages here; only the reader thread uses it.
        faults: the last error of each room here; only the reader thread uses it.
        joined: the rooms that are joined here; only the reconnector's thread uses it.
    """

    def __init__(self, number: int, connection: Connection) -> None:
        self.node = connection.welcome.node
        self.connection = connection
        self.since = time.monotonic()
        self.over = False
        self.epochs: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self._number = number
        # Only the reconnector's thread uses the rest.
        self.joined: set[str] = set()
        self._asked: set[str] = set()
        self._again: dict[str, float] = {}  # rooms to join once more, and when

    def newer_than(self, other: NodeLink) -> bool:
        """Whether this connection counts more than the other one, which told something just now."""
        return other.over or (not self.over and self._number > other._number)

    def send(self, message: wire.ClientMessage) -> None:
        """Send a message if that is possible; if it is not, the reader thread tells the reconnector."""
        try:
            self.connection.send(message)
        except DisconnectedError:
            pass

    def post(self, say: wire.Say) -> NodeError | None:
        """Send a post in a form that the node understands; return an error if there is none."""
        post = understood(say, self.node, self.connection.welcome.protocol)
        if isinstance(post, NodeError):
            return post
        self.send(post)
        return None

    # --- for the reconnector's thread -------------------------------------------------------------------------

    @property
    def asked(self) -> frozenset[str]:
        """The rooms that the chat asked to join here and has not left since."""
        return frozenset(self._asked)

    @property
    def brings_all(self) -> bool:
        """Whether all rooms that the chat asked to join are joined."""
        return self._asked <= self.joined

    def join(self, join: wire.Join) -> None:
        """Ask to join a room."""
        self._asked.add(join.room)
        self.send(join)

    def leave(self, room: str) -> None:
        """Ask to leave a room."""
        self.send(wire.Leave(room))

    def left(self, room: str) -> None:
        """Note that a room was left."""
        self._asked.discard(room)
        self.joined.discard(room)

    def join_later(self, room: str, at: float) -> None:
        """Note that a room is to be joined again at this time (monotonic, in seconds)."""
        self._again[room] = at

    def due(self) -> float:
        """Return when the next room is to be joined again; infinite if none is."""
        return min(self._again.values(), default=float("inf"))

    def take_due(self, now: float) -> list[str]:
        """Return the rooms that are to be joined again by now, and forget them here."""
        due = [room for room, at in self._again.items() if at <= now]
        for room in due:
            del self._again[room]
        return due
