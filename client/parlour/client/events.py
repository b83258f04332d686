"""The events of a room: messages and their changes, changes of the members, and of the connection.

This module owns the classes of events. The chat's reader thread makes them, and any thread may take them. An event must
never change after it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parlour.wire import messages as wire
from parlour.wire.limits import sane_time
from parlour.wire.records import GONE, UTTERANCES, session_of_id

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
    """A message of the room, as it was when the event was made; `Changed` tells of later edits and the like."""

    room: str
    offset: int
    """Its number in the room, counted from 1."""
    id: str
    """`SESSION-N`: the sender's session, and the number of the post in it."""
    by: str
    at: int
    """When it was logged, in milliseconds since the Unix epoch."""
    text: str
    """The text as it is now; "(deleted)" if the message was deleted. A text of any kind can be shown as a line."""
    replay: bool
    """Whether it was logged before this chat joined the room."""
    mine: bool = field(default=False, compare=False)
    """Whether this chat posted it; another chat may have the same name."""
    kind: str = ""
    """Empty for a plain text; else `"action"`, `"notice"`, `"gone"` (deleted), or a kind of a later version."""
    ref: int = 0
    """The offset of the record that this one refers to, or 0."""
    account: str = ""
    """The sender's account, empty for a guest."""
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further fields for programs."""
    edited: bool = False
    """Whether the text was changed after the message was logged."""
    reactions: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """For each reaction, such as "👍", the names of the people who sent it, in their order."""

    @property
    def reply_to(self) -> int | None:
        """The offset of the message that this one answers, or None."""
        return self.ref if self.ref and self.kind in UTTERANCES else None

    @property
    def redacted(self) -> bool:
        """Whether the message was deleted: its text is gone for good."""
        return self.kind == GONE

    @classmethod
    def of(cls, message: wire.Message, replay: bool, session: str) -> Message:
        """Return the event of a record, as the chat of this session sees it."""
        return cls(
            message.room,
            message.offset,
            message.id,
            message.by,
            sane_time(message.at),
            message.text,
            replay,
            session_of_id(message.id) == session,
            message.kind,
            message.ref,
            message.account,
            message.data,
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """An earlier message was changed: edited, deleted, reacted to, or a reaction was taken back."""

    record: Message
    """The record of the change: of the kind `"edit"`, `"redact"` or `"react"`, with its sender, time and text.

    `ref` is the offset of the message, or of the edit or reaction that a `"redact"` takes back.
    """
    message: Message | None
    """The message as it is now; None if it is older than what this chat remembers of the room."""
    before: Message | None
    """The message as it was before; equal to `message` if the record may not change it."""

    @property
    def room(self) -> str:
        """The room of both."""
        return self.record.room


@dataclass(frozen=True, slots=True)
class Presence:
    """Names that joined or left the room, in which `count` are now. Of those that joined, `bots` are programs."""

    room: str
    joined: tuple[str, ...]
    left: tuple[str, ...]
    count: int
    bots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lagging:
    """This program takes messages slower than they come: the next ones are complete, but late."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The room cannot go on from the last message; the next messages begin with the offset after `after`.

    Either the log does not keep the messages that came next: then all messages that it keeps follow. Or the log began
    anew: then the epoch is another one, and offsets may come again with other messages. In this case the next messages
    are those that a newcomer is shown, or those since the last message that the log still has.
    """

    room: str
    epoch: str
    after: int


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost for this reason; the chat is connecting again, and keeps what is posted meanwhile."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The chat is connected again, to this node; the messages of the meantime follow."""

    node: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost for good for this reason; the last event of a room."""

    reason: str


Event = Message | Changed | Presence | Lagging | Restarted | Reconnecting | Reconnected | Disconnected
"""The events that `Room.events` yields."""
