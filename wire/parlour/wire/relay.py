"""What nodes tell each other about a room over the relay: batches of messages, the top offset, who is here.

This module owns the heads of relay publications, each one MessagePack map in the second ZeroMQ frame (the first is
the topic, a batch's frames are the third). Instances are immutable. It must never carry what the log does not know,
presence apart.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import force_setattr

from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name, check_older_name, check_room
from parlour.wire.messages import MAX_OFFSET

__all__ = ["Batch", "Here", "RelayMessage", "Resync", "Top", "Whereabouts", "inbox_topic", "room_of", "room_topic"]


MAX_WORD = 128
"""Longest epoch, instance or session, in characters."""


def _check_word(what: str, word: str) -> None:
    if not 1 <= len(word) <= MAX_WORD:
        raise UsageError(f"{what} has 1 to {MAX_WORD} characters, this one has {len(word)}")


def _check_count(what: str, number: int, least: int) -> None:
    if not least <= number <= MAX_OFFSET:
        raise UsageError(f"{what} is a whole number from {least} to {MAX_OFFSET}, not {number}")


class _Relay(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The root of relay heads. `node` and `instance` name the publishing node."""


class _OfNode(_Relay, frozen=True):
    """What a node says of its own members. Whether it is that node, its hearer must see by the connection."""

    node: str
    instance: str

    def __post_init__(self) -> None:
        force_setattr(self, "node", check_name(self.node))
        _check_word("an instance", self.instance)


def _check_members(members: Iterable[tuple[str, str | None]]) -> None:
    for session, name in members:
        _check_word("a session", session)
        if name is not None:
            check_older_name(name)


class Batch(_Relay, frozen=True, tag="batch"):
    """Messages `first` to `last` of the room, whose frames follow joined as the third ZeroMQ frame."""

    epoch: str
    first: int
    last: int

    def __post_init__(self) -> None:
        _check_word("an epoch", self.epoch)
        _check_count("first", self.first, 1)
        _check_count("last", self.last, self.first)


class Top(_Relay, frozen=True, tag="top"):
    """The last offset this node knows of a room it lately wrote to, so that a lost last batch is missed."""

    epoch: str
    offset: int

    def __post_init__(self) -> None:
        _check_word("an epoch", self.epoch)
        _check_count("offset", self.offset, 0)


class Here(_OfNode, frozen=True, tag="here"):
    """All of a node's own members of the room, session to name; sent when a peer begins to listen."""

    version: int  # counts this node's changes in this room
    members: dict[str, str]
    bots: list[str] = []  # those of the sessions that are programs

    def __post_init__(self) -> None:
        _OfNode.__post_init__(self)
        _check_count("version", self.version, 0)
        _check_members(self.members.items())


class Whereabouts(_OfNode, frozen=True, tag="whereabouts"):
    """Changes `first` to `version` of a node's own members of the room: session to name, None for who left.

    With no members it is a heartbeat, by which a listener sees that it missed one.
    """

    first: int
    version: int
    members: dict[str, str | None] = {}
    bots: list[str] = []  # those of the sessions that are programs

    def __post_init__(self) -> None:
        _OfNode.__post_init__(self)
        _check_count("first", self.first, 0)
        # A heartbeat tells the change that is to come next: one more than the last.
        _check_count("version", self.version, self.first - 1)
        _check_members(self.members.items())


class Resync(_Relay, frozen=True, tag="resync"):
    """Asks a node, on its inbox topic, to publish `here` for a room again."""

    room: str

    def __post_init__(self) -> None:
        force_setattr(self, "room", check_room(self.room))


RelayMessage = Batch | Top | Here | Whereabouts | Resync
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
