"""What a room tells a program: messages and their changes, comings and goings, and what befell the connection.

This module owns the classes of events; they are immutable, made by the chat's reader thread and handed to whichever
thread asks. An event must never carry what can change afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parlour.wire import messages as wire
from parlour.wire.limits import sane_time
from parlour.wire.records import GONE, UTTERANCES

__all__ = [
    "Changed",
    "Disconnected",
    "Event",
    "Lagging",
    "Message",
    "Presence",
    "Reconnected",
    "Reconnecting",
    "Restarted",
]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the room, as it was when it was handed out; edits and the like come later, as `Changed`."""

    room: str
    offset: int
    """Its number in the room, counted from 1."""
    id: str
    """`SESSION-N`: the sender's session, and the number of the post in it."""
    by: str
    at: int
    """When it was logged, in milliseconds since the Unix epoch."""
    text: str
    """What it says; "(deleted)" if it was deleted. Whatever the kind, it can be shown as a line by itself."""
    replay: bool
    """Whether it was said before this chat joined the room."""
    mine: bool = field(default=False, compare=False)
    """Whether this chat said it; another may have the same name."""
    kind: str = ""
    """Empty for what is plainly said, or `"action"`, `"notice"`, `"gone"`, or a kind of a later version."""
    ref: int = 0
    """The offset of the message that this one is about, or 0."""
    account: str = ""
    """The sender's account, empty for a guest."""
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The kind's own fields."""
    edited: bool = False
    """Whether `text` is another than was said at first."""
    reactions: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """The names of those who reacted, in their order, by what they reacted with."""

    @property
    def reply_to(self) -> int | None:
        """The offset of the message that this one answers, or None."""
        return self.ref if self.ref and self.kind in UTTERANCES else None

    @property
    def redacted(self) -> bool:
        """Whether it was deleted: its text is gone for good."""
        return self.kind == GONE

    @classmethod
    def of(cls, message: wire.Message, replay: bool, session: str) -> Message:
        """Return the event for a message of the protocol, as the chat of this session sees it."""
        return cls(
            message.room,
            message.offset,
            message.id,
            message.by,
            sane_time(message.at),
            message.text,
            replay,
            message.id.rpartition("-")[0] == session,
            message.kind,
            message.ref,
            message.account,
            message.data,
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """An earlier message was edited or deleted, or somebody reacted to it, or took a reaction back."""

    record: Message
    """The record of the room log that says so: its kind is `"edit"`, `"redact"` or `"react"`, `ref` what it is about.

    It has the new text or the reaction, who sent it, and when.
    """
    message: Message | None
    """The message as it is now; None if it is older than what this chat remembers of the room."""
    before: Message | None
    """The message as it was before; equal to `message` if the record had no right to change it."""

    @property
    def room(self) -> str:
        """The room of both."""
        return self.record.room


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


Event = Message | Changed | Presence | Lagging | Restarted | Reconnecting | Reconnected | Disconnected
"""Whatever `Room.events` yields."""
