"""What nodes tell each other about a room over the relay: batches of messages, the top offset, who is here.

This module owns the heads of relay publications, each one MessagePack map in the second ZeroMQ frame (the first is
the topic, a batch's frames are the third). Instances are immutable. It must never carry what the log does not know,
presence apart.
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Batch", "Here", "RelayMessage", "Resync", "Top", "Whereabouts", "inbox_topic", "room_topic"]


class _Relay(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The root of relay heads. `node` and `instance` name the publishing node."""


class Batch(_Relay, frozen=True, tag="batch"):
    """Messages `first` to `last` of the room, whose frames follow joined as the third ZeroMQ frame."""

    epoch: str
    first: int
    last: int


class Top(_Relay, frozen=True, tag="top"):
    """The last offset this node knows of a room it lately wrote to, so that a lost last batch is missed."""

    epoch: str
    offset: int


class Here(_Relay, frozen=True, tag="here"):
    """All of a node's own members of the room, session to name; sent when a peer begins to listen."""

    node: str
    instance: str
    version: int  # counts this node's changes in this room
    members: dict[str, str]


class Whereabouts(_Relay, frozen=True, tag="whereabouts"):
    """Changes `first` to `version` of a node's own members of the room: session to name, None for who left.

    With no members it is a heartbeat, by which a listener sees that it missed one.
    """

    node: str
    instance: str
    first: int
    version: int
    members: dict[str, str | None] = {}


class Resync(_Relay, frozen=True, tag="resync"):
    """Asks a node, on its inbox topic, to publish `here` for a room again."""

    room: str


RelayMessage = Batch | Top | Here | Whereabouts | Resync
"""The heads that come over the relay."""


def room_topic(room: str) -> bytes:
    """Return the topic of a room; it ends in NUL, so that no room's topic begins another's."""
    return b"r" + room.encode() + b"\0"


def inbox_topic(node: str) -> bytes:
    """Return the topic by which the other nodes reach one node."""
    return b"n" + node.encode() + b"\0"
