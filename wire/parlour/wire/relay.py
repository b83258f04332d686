"""What nodes tell each other about a room over the relay: batches of messages, the top offset, who is here.

This module owns the heads of relay publications, each one MessagePack map in the second ZeroMQ frame (the first is
the topic, a batch's frames are the third). Instances are immutable. It must never carry what the log does not know,
presence apart.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from parlour.wire.errors import UsageError
from parlour.wire.limits import Count, Place, check_name, check_older_name, check_room

__all__ = [
    "LogHead",
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


class _Relay(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The root of relay heads. `node` and `instance` name the publishing node."""


class _OfNode(_Relay, frozen=True):
    """What a node says of its own members. Whether it is that node, its hearer must see by the connection."""

    node: str
    instance: _Word

    def __post_init__(self) -> None:
        force_setattr(self, "node", check_name(self.node))


class RelayBatch(_Relay, frozen=True, tag="batch"):
    """Messages `first` to `last` of the room, whose frames follow joined as the third ZeroMQ frame."""

    epoch: _Word
    first: Place
    last: Place

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise UsageError(f"a batch that begins with message {self.first} cannot end with {self.last}")


class LogHead(_Relay, frozen=True, tag="top"):
    """The last offset this node knows of a room it lately wrote to, so that a lost last batch is missed."""

    epoch: _Word
    offset: Count


class PresenceSnapshot(_OfNode, frozen=True, tag="here"):
    """All of a node's own members of the room, session to name; sent when a peer begins to listen."""

    version: Count  # counts this node's changes in this room
    members: dict[_Word, str]
    bots: list[str] = []  # those of the sessions that are programs

    def __post_init__(self) -> None:
        _OfNode.__post_init__(self)
        for name in self.members.values():
            check_older_name(name)


class PresenceDelta(_OfNode, frozen=True, tag="whereabouts"):
    """Changes `first` to `version` of a node's own members of the room: session to name, None for who left.

    With no members it is a heartbeat, by which a listener sees that it missed one.
    """

    first: Count
    version: Count
    members: dict[_Word, str | None] = {}
    bots: list[str] = []  # those of the sessions that are programs

    def __post_init__(self) -> None:
        _OfNode.__post_init__(self)
        # A heartbeat tells the change that is to come next: one more than the last.
        if self.version < self.first - 1:
            raise UsageError(f"changes that begin with {self.first} cannot end with {self.version}")
        for name in self.members.values():
            if name is not None:
                check_older_name(name)


class Resync(_Relay, frozen=True, tag="resync"):
    """Asks a node, on its inbox topic, to publish `here` for a room again."""

    room: str

    def __post_init__(self) -> None:
        force_setattr(self, "room", check_room(self.room))


RelayMessage = RelayBatch | LogHead | PresenceSnapshot | PresenceDelta | Resync
"""The heads that come over the relay."""


def room_topic(room: str) -> bytes:
    """Return the topic of a room; it ends in NUL, so that no room's topic begins another's."""
    return b"r" + room.encode() + b"\0"


def inbox_topic(node: str) -> bytes:
    """Return the topic by which the other nodes reach one node."""
    return b"n" + node.encode() + b"\0"


def room_of(topic: bytes) -> str:
    """Return the name of the room of a topic; raises UsageError if it is no room's."""
    if topic[:1] != b"r" or topic[-1:] != b"\0":
        raise UsageError("this is no room's topic")
    try:
        return check_room(topic[1:-1].decode())
    except UnicodeDecodeError:
        raise UsageError("a room name is UTF-8") from None
