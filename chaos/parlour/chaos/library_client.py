"""A client that uses the library, which speaks frames.

This module owns the chat and its rooms. One thread posts, and another takes records. It must never help the library:
it posts each thing once, and takes events as they come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from parlour.chaos.records import Record
from parlour.chaos.view import DELETED, Shown
from parlour.client.chat import Chat, connect
from parlour.client.events import Changed, Disconnected, Message, Reconnected, Restarted
from parlour.client.room import Room

__all__ = ["ANSWERED", "LibraryClient", "record_of"]

ANSWERED = 60.0
"""Seconds within which a post must be acknowledged: longer than two faults in a row."""


def record_of(event: Message | Changed) -> Record:
    """Return the record that an event tells of."""
    record = event.record if isinstance(event, Changed) else event
    return Record(record.offset, record.id, record.by, record.at, record.text, record.kind, record.ref)


class LibraryClient:
    """A client of this name in these rooms.

    Attributes:
        returns: how often it came back after a loss.
        troubles: what went wrong, as pairs of a room and a line.
    """

    def __init__(self, name: str, rooms: Sequence[str], brokers: Sequence[str]) -> None:
        self.returns = 0
        self.troubles: list[tuple[str, str]] = []
        self._name = name
        self._brokers = brokers
        self._chat: Chat | None = None
        self._rooms: dict[str, Room | None] = dict.fromkeys(rooms)

    @property
    def node(self) -> str | None:
        """The name of the current node, or of the last one; None before `start`."""
        return None if self._chat is None else self._chat.node

    def start(self, timeout: float) -> None:
        """Connect and join the rooms, within `timeout` seconds each; raises as `connect` and `Chat.join` do."""
        self._chat = connect(self._brokers, self._name, room=next(iter(self._rooms)), timeout=timeout)
        for name in self._rooms:
            self._rooms[name] = self._chat.join(name, timeout=timeout)

    def post(self, room: str, text: str, kind: str = "", ref: int = 0) -> Future[Message]:
        """Post a record and return its future acknowledgement; raises as `Room.post` does."""
        return self._joined(room).post(text, ANSWERED, kind=kind, ref=ref)

    def take(self) -> Iterator[tuple[str, Record, float]]:
        """Yield each new record with its room before it, and its time (seconds since the Unix epoch) behind it."""
        for number, (name, room) in enumerate(self._rooms.items()):
            for event in () if room is None else room.events(timeout=0):
                if isinstance(event, Message | Changed):
                    yield name, record_of(event), time.time()
                elif isinstance(event, Reconnected):
                    self.returns += not number  # Every room tells of it: count it once.
                elif isinstance(event, Restarted):
                    self.troubles.append((name, "it could not go on from its last message"))
                elif isinstance(event, Disconnected):
                    self.troubles.append((name, f"cut off for good: {event.reason}"))

    def shown(self, room: str) -> dict[int, Shown]:
        """Return how the library shows the last records of a room."""
        return {
            message.offset: DELETED
            if message.redacted
            else Shown(
                message.text,
                message.edited,
                {(by, reaction) for reaction, names in message.reactions.items() for by in names},
            )
            for message in self._joined(room).recent()
        }

    def stop(self, timeout: float) -> None:
        """Leave the cluster."""
        if self._chat is not None:
            self._chat.close()

    def _joined(self, name: str) -> Room:
        room = self._rooms[name]
        assert room is not None, "start the client before"
        return room
