"""The lines that a person sees of one room: first old messages as they are now, then a line for each event.

This module owns which messages of a room were shown. The thread that shows the room calls it; the main thread uses
`page` and `oldest`. It must never print, nor show a text that was deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from parlour.client.display import Lines
from parlour.client.events import Changed, Event, Lagging, Message, Presence, Restarted

__all__ = ["RoomView", "ViewedRoom"]


class ViewedRoom(Protocol):
    """What a view needs of its room; see `Room`."""

    name: str

    @property
    def replays(self) -> int:
        """The number of old records that come first."""
        ...

    @property
    def members(self) -> list[str]:
        """The names in the room."""
        ...

    @property
    def count(self) -> int:
        """The number of names in the room."""
        ...

    def message(self, offset: int) -> Message | None:
        """Return the message at this offset as it is now, if it is known."""
        ...


class RoomView:
    """The lines of one room.

    Attributes:
        oldest: the offset of the first record that was shown; None if there is none yet.
    """

    def __init__(self, room: ViewedRoom, lines: Lines) -> None:
        self.oldest: int | None = None
        self._room = room
        self._lines = lines
        self._replays = room.replays  # old records that have not come yet
        self._past: dict[int, Message] = {}  # old messages, kept until all old records have come

    def begin(self) -> list[str]:
        """Return the lines to show before the first event."""
        return [] if self._replays else [self._here()]

    def take(self, event: Event, several: bool) -> list[str]:
        """Return the lines of the next event; with `several` rooms each line names its room."""
        now = datetime.now()
        if isinstance(event, Message | Changed):
            record = event if isinstance(event, Message) else event.record
            if self.oldest is None:
                self.oldest = record.offset
            if self._replays and record.replay:
                return self._take_past(event, now, several)
            return [*self._end_past(now, several), *self._new(event, now, several)]
        if isinstance(event, Presence):
            # The members are listed after the old messages.
            return [] if self._replays else [self._lines.presence(event, several)]
        if isinstance(event, Lagging):
            return [self._lines.note("this terminal is slow: what follows is complete, but late")]
        if isinstance(event, Restarted):
            self.oldest = None
            note = f"{self._lines.title(self._room.name)} goes on from what is kept of it; some of it is gone"
            return [*self._end_past(now, several), self._lines.note(note)]
        return []

    def page(self, messages: list[Message], numbered: bool = False) -> list[str]:
        """Return old messages as lines."""
        return self._shown({message.offset: message for message in messages}, datetime.now(), False, numbered)

    def _take_past(self, event: Message | Changed, now: datetime, several: bool) -> list[str]:
        message = event if isinstance(event, Message) else event.message
        if message is not None and (message is event or message.offset in self._past):
            self._past[message.offset] = message
        self._replays -= 1
        return [] if self._replays else [*self._shown(self._past, now, several), self._here()]

    def _end_past(self, now: datetime, several: bool) -> list[str]:
        """Return the old messages that have come, if a new event comes before the last of them."""
        if not self._replays:
            self._past = {}
            return []
        self._replays = 0
        return [*self._shown(self._past, now, several), self._here()]

    def _new(self, event: Message | Changed, now: datetime, several: bool) -> list[str]:
        if isinstance(event, Changed):
            line = self._lines.changed(event, now, several)
            return [line] if line else []
        if event.redacted:
            return []  # It was posted and deleted while there was no connection.
        answered = self._answered(event, {})
        bell = "\a" if not event.replay and self._lines.mentions(event, answered) else ""
        return [bell + self._lines.message(event, now, several, answered)]

    def _shown(
        self, messages: Mapping[int, Message], now: datetime, several: bool, numbered: bool = False
    ) -> list[str]:
        return [
            self._lines.message(message, now, several, self._answered(message, messages), numbered)
            for message in messages.values()
            if not message.redacted
        ]

    def _answered(self, message: Message, known: Mapping[int, Message]) -> Message | None:
        """Return the message that this one answers, if it is known."""
        if message.reply_to is None:
            return None
        return known.get(message.reply_to) or self._room.message(message.reply_to)

    def _here(self) -> str:
        return self._lines.here(self._room.name, self._room.members, self._room.count)
