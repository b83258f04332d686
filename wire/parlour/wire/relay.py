"""The publications between nodes about a room: batches of messages, the last offset, and presence.

This module owns their headers: each is one MessagePack map in the second ZeroMQ frame (the first one is the topic, the
third one a batch's frames). Instances are immutable, and any thread may use them. A header must never carry facts that
are not in the log, except presence.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, Count, Place, check_name, check_older_name, check_room
from parlour.wire.records import check_data
from parlour.wire.root import Kind

__all__ = [
    "PEOPLE_TOPIC",
    "LogHead",
    "PersonNews",
    "PresenceDelta",
    "PresenceSnapshot",
    "RelayBatch",
    "RelayMessage",
    "Resync",
    "inbox_topic",
    "room_of",
    "room_topic",
]

_Word = Annotated[str, Meta(min_length=1, max_length=128)]
"""An epoch, an instance or a session."""

_Display = Annotated[str, Meta(max_length=MAX_NAME)]
"""A display name."""


class _Relay(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The root of relay headers."""


class _FromNode(_Relay, frozen=True):
    """The presence of a node's own members. The receiver must check by the connection that this node sent it."""

    node: str
    instance: _Word

    def __post_init__(self) -> None:
        force_setattr(self, "node", check_name(self.node))


class RelayBatch(_Relay, frozen=True, tag="batch"):
    """The header of messages `first` to `last`; the third ZeroMQ frame has their joined frames."""

    epoch: _Word
    first: Place
    last: Place

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise UsageError(f"a batch that begins with message {self.first} cannot end with {self.last}")


class LogHead(_Relay, frozen=True, tag="top"):
    """The last offset of a room in the log, as this node knows it, so that other nodes notice a lost last batch."""

    epoch: _Word
    offset: Count


class PresenceSnapshot(_FromNode, frozen=True, tag="here"):
    """All members of the room on one node, from session to name; sent when a peer begins to listen."""

    version: Count  # the number of this node's last change in this room
    members: dict[_Word, str]
    bots: list[str] = []  # the sessions that are programs
    accounts: list[str] = []  # the sessions that are signed in
    displays: dict[_Word, _Display] = {}  # the display names of sessions that have one

    def __post_init__(self) -> None:
        _FromNode.__post_init__(self)
        for name in self.members.values():
            check_older_name(name)


class PresenceDelta(_FromNode, frozen=True, tag="whereabouts"):
    """Changes `first` to `version` among a node's members of the room: from session to name, None if it left.

    Without members it is a heartbeat, which shows a listener that it missed a change.
    """

    first: Count
    version: Count
    members: dict[_Word, str | None] = {}
    bots: list[str] = []  # the sessions that are programs
    accounts: list[str] = []  # the sessions that are signed in
    displays: dict[_Word, _Display] = {}  # the display names of sessions that have one

    def __post_init__(self) -> None:
        _FromNode.__post_init__(self)
        # The `first` of a heartbeat is the next change to come: the last one plus one.
        if self.version < self.first - 1:
            raise UsageError(f"changes that begin with {self.first} cannot end with {self.version}")
        for name in self.members.values():
            if name is not None:
                check_older_name(name)


class Resync(_Relay, frozen=True, tag="resync"):
    """Asks a node, on its inbox topic, to publish its PresenceSnapshot of a room again."""

    room: str

    def __post_init__(self) -> None:
        force_setattr(self, "room", check_room(self.room))


class PersonNews(_Relay, frozen=True, tag="news"):
    """News for a person, by identity (see `wire.direct`); each node gives them to the sessions of that person."""

    person: Annotated[str, Meta(min_length=1, max_length=4 * MAX_NAME + 16)]
    what: Kind
    data: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_data(self.data)


RelayMessage = RelayBatch | LogHead | PresenceSnapshot | PresenceDelta | Resync | PersonNews
"""The headers on the relay."""


PEOPLE_TOPIC = b"p\0"
"""The topic of news for people. All nodes listen to it, as such news are rare."""


def room_topic(room: str) -> bytes:
    """Return the topic of a room; it ends in NUL, so that no topic is the beginning of another."""
    return b"r" + room.encode() + b"\0"


def inbox_topic(node: str) -> bytes:
    """Return the topic on which other nodes send requests to this node."""
    return b"n" + node.encode() + b"\0"


def room_of(topic: bytes) -> str:
    """Return the room's name in a topic; raises UsageError if it is no topic of a room."""
    if topic[:1] != b"r" or topic[-1:] != b"\0":
        raise UsageError("this is no topic of a room")
    try:
        return check_room(topic[1:-1].decode())
    except UnicodeDecodeError:
        raise UsageError("a room's name must be UTF-8") from None
