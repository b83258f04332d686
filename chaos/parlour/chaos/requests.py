"""The requests of a round to the processes of its clients, and their answers: a line of JSON each.

This module owns these lines; `memories` owns the file that a process writes at the end. It is pure. A line must never
grow with the length of the round.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Answer",
    "AskProgress",
    "ClientPlan",
    "Done",
    "Door",
    "EnterCluster",
    "EnterPeople",
    "Failed",
    "LeaveCluster",
    "Locate",
    "Located",
    "Progress",
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
    """What one client is to do."""

    name: str
    rooms: list[str]
    pause: float
    """Seconds between two posts, on average."""
    seed: str
    door: Door | None
    """How the client finds its node, if it speaks JSON lines; None if it uses the library."""


class EnterCluster(msgspec.Struct, frozen=True, tag=True):
    """Let these clients enter the cluster with these brokers, and with nodes at these addresses, by name."""

    brokers: list[str]
    nodes: dict[str, str]
    plans: list[ClientPlan]


class EnterPeople(msgspec.Struct, frozen=True, tag=True):
    """Let people with accounts enter the cluster with these brokers, and with nodes at these addresses, by name.

    `prefix` begins their names and their room's.
    """

    brokers: list[str]
    nodes: dict[str, str]
    prefix: str
    seed: str


class StartTalking(msgspec.Struct, frozen=True, tag=True):
    """Let all clients begin to post."""


class StopTalking(msgspec.Struct, frozen=True, tag=True):
    """Let all clients stop posting."""


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Ask which clients are at this node; answered by `Located`."""

    node: str


class AskProgress(msgspec.Struct, frozen=True, tag=True):
    """Ask how far the clients are; answered by `Progress`."""


class Save(msgspec.Struct, frozen=True, tag=True):
    """Write what the clients remember to this file."""

    file: str


class LeaveCluster(msgspec.Struct, frozen=True, tag=True):
    """Let all clients leave."""


Request = EnterCluster | EnterPeople | StartTalking | StopTalking | Locate | AskProgress | Save | LeaveCluster
"""Any request."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """The request is done."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request failed; `text` tells why."""

    text: str


class Located(msgspec.Struct, frozen=True, tag=True):
    """The names of the clients at a node."""

    names: list[str]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far the clients of a process are."""

    waiting: int
    """Clients that may still post, or wait for an acknowledgement."""
    acknowledged: dict[str, int]
    """The highest offset that was acknowledged in each room."""
    seen: dict[str, list[int]]
    """The offset of the last record that each member has seen, by room."""


Answer = Done | Failed | Located | Progress
"""Any answer."""
