"""What a round and the processes of its clients say to each other: a request is a line of JSON, and so is its answer.

This module owns those lines; the record that a process writes to a file at the end is `record`'s. It is pure. It must
never carry what grows with the time that a round lasts.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "Answer",
    "Come",
    "Done",
    "Failed",
    "Guest",
    "Hush",
    "Leave",
    "Look",
    "Request",
    "Sight",
    "Talk",
    "Where",
    "Whereabouts",
    "Write",
]


class Guest(msgspec.Struct, frozen=True):
    """A client that shall come: what it is called, where it goes, how often it speaks."""

    name: str
    rooms: list[str]
    pause: float
    """Seconds between two things that it says, on average."""
    seed: str


class Come(msgspec.Struct, frozen=True, tag=True):
    """Let these clients come in through these brokers."""

    brokers: list[str]
    guests: list[Guest]


class Talk(msgspec.Struct, frozen=True, tag=True):
    """Let all begin to talk."""


class Hush(msgspec.Struct, frozen=True, tag=True):
    """Let nobody say anything more."""


class Where(msgspec.Struct, frozen=True, tag=True):
    """Which clients are at this node? Answered by `Whereabouts`."""

    node: str


class Look(msgspec.Struct, frozen=True, tag=True):
    """How far are they? Answered by `Sight`."""


class Write(msgspec.Struct, frozen=True, tag=True):
    """Write the record of all that was said and seen to this file."""

    file: str


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Let all go."""


Request = Come | Talk | Hush | Where | Look | Write | Leave
"""What the round may ask for."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """It is done."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done."""

    text: str


class Whereabouts(msgspec.Struct, frozen=True, tag=True):
    """The names of the clients there."""

    names: list[str]


class Sight(msgspec.Struct, frozen=True, tag=True):
    """How far the clients of a process are."""

    waiting: int
    """Clients that may still say something, or wait for an acknowledgement."""
    acknowledged: dict[str, int]
    """The highest offset that was acknowledged in each room."""
    seen: dict[str, list[int]]
    """The offset of the last message that each member has seen, by room."""


Answer = Done | Failed | Whereabouts | Sight
"""What a process of clients may answer."""
