"""One connection of a chat as its rooms know it: which of them it brings, in which epoch, and whether it still counts.

This module owns what is known of a connection besides its socket; each field says whose thread may touch it. It must
never raise because a connection broke: that is told by the connection's reader thread, once.
"""

from __future__ import annotations

import time

from parlour.client.connection import Connection
from parlour.client.errors import DisconnectedError
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
        self.asked: set[str] = set()
        self.joined: set[str] = set()
        self.again: dict[str, float] = {}  # rooms to join once more, and when

    def newer_than(self, other: Link) -> bool:
        """Whether this one counts more than the other, which told something just now."""
        return other.over or (not self.over and self._number > other._number)

    def send(self, message: wire.ClientMessage) -> None:
        """Send if that is possible; if it is not, the reader thread tells the keeper."""
        try:
            self.connection.send(message)
        except DisconnectedError:
            pass
