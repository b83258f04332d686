"""What a round and the processes of its clients say to each other: a request is a line of JSON, and so is its answer.

This module owns those lines; the record that a process writes to a file at the end is `memories`'s. It is pure. It must
never carry what grows with the time that a round lasts.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Answer",
    "ClientPlan",
    "Done",
    "Door",
    "Enter",
    "Failed",
    "Leave",
    "Locate",
    "Located",
    "Progress",
    "Report",
    "Request",
    "Save",
    "StartTalking",
    "StopTalking",
]


class Door(StrEnum):
    """How a client finds its node."""

    BROKER = "broker"
    """It asks a broker for a ticket."""
    NODE = "node"
    """It connects to any node, without a ticket."""
    ENTER = "enter"
    """It asks any node for a ticket, by `enter`."""


class ClientPlan(msgspec.Struct, frozen=True):
    """A client that shall come: what it is called, where it goes, how often it speaks."""

    name: str
    rooms: list[str]
    pause: float
    """Seconds between two things that it says, on average."""
    seed: str
    door: Door | None
    """How it finds its node if it speaks JSON lines; None if it uses the library."""


class Enter(msgspec.Struct, frozen=True, tag=True):
    """Let these clients come in to the cluster of these brokers, and of nodes at these addresses, by name."""

    brokers: list[str]
    nodes: dict[str, str]
    plans: list[ClientPlan]


class StartTalking(msgspec.Struct, frozen=True, tag=True):
    """Let all begin to talk."""


class StopTalking(msgspec.Struct, frozen=True, tag=True):
    """Let nobody say anything more."""


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Which clients are at this node? Answered by `Located`."""

    node: str


class Report(msgspec.Struct, frozen=True, tag=True):
    """How far are they? Answered by `Progress`."""


class Save(msgspec.Struct, frozen=True, tag=True):
    """Save the record of all that was said and seen to this file."""

    file: str


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Let all go."""


Request = Enter | StartTalking | StopTalking | Locate | Report | Save | Leave
"""What the round may ask for."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """It is done."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done."""

    text: str


class Located(msgspec.Struct, frozen=True, tag=True):
    """The names of the clients there."""

    names: list[str]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far the clients of a process are."""

    waiting: int
    """Clients that may still say something, or wait for an acknowledgement."""
    acknowledged: dict[str, int]
    """The highest offset that was acknowledged in each room."""
    seen: dict[str, list[int]]
    """The offset of the last message that each member has seen, by room."""


Answer = Done | Failed | Located | Progress
"""What a process of clients may answer."""
