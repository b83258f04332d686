"""What a room tells a program: messages, comings and goings, and what befell the connection.

This module owns the classes of events; they are immutable, made by the chat's reader thread and handed to whichever
thread asks. An event must never carry what can change afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parlour.wire import messages as wire
from parlour.wire.limits import sane_time

__all__ = ["Disconnected", "Event", "Lagging", "Message", "Presence", "Reconnected", "Reconnecting", "Restarted"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the room log."""

    room: str
    offset: int
    """Its number in the room, counted from 1."""
    id: str
    """`SESSION-N`: the sender's session, and the number of the post in it."""
    by: str
    at: int
    """When it was logged, in milliseconds since the Unix epoch."""
    text: str
    replay: bool
    """Whether it was said before this chat joined the room."""
    mine: bool = field(default=False, compare=False)
    """Whether this chat said it; another may have the same name."""

    @classmethod
    def of(cls, message: wire.Message, replay: bool, session: str) -> Message:
        """Return the event for a message of the protocol, as the chat of this session sees it."""
        at, mine = sane_time(message.at), message.id.rpartition("-")[0] == session
        return cls(message.room, message.offset, message.id, message.by, at, message.text, replay, mine)


@dataclass(frozen=True, slots=True)
class Presence:
    """Names that came to the room or went from it; `count` are there now. Of those who came, `bots` are programs."""

    room: str
    joined: tuple[str, ...]
    left: tuple[str, ...]
    count: int
    bots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lagging:
    """This program reads slower than its rooms talk: what follows is complete, but late."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """There is no going on from the last message; what follows begins with the offset after `after`.

    Either what came next is not kept any more: then all that is kept follows. Or the log began anew: then the epoch is
    another, and some offsets may come again, with other messages. What a newcomer is shown follows then, or what was
    said since the last message that the log still has.
    """

    room: str
    epoch: str
    after: int


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost, and why; the chat is on its way back, and what is posted meanwhile is kept."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The chat is back, at this node; what was said meanwhile follows."""

    node: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost for good, and why; the last event of a room."""

    reason: str


Event = Message | Presence | Lagging | Restarted | Reconnecting | Reconnected | Disconnected
"""Whatever `Room.events` yields."""
