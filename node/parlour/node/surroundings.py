"""What the rooms of a node need of the node, in one piece.

This module owns nothing but that list; instances are immutable, and what they name may be called by any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from parlour.node.alarms import Alarms, Workers
from parlour.node.broadcast import Broadcast
from parlour.node.load import Load
from parlour.node.log import RoomLog
from parlour.node.relay import Relay
from parlour.node.settings import NodeSettings

__all__ = ["Surroundings"]


@dataclass(frozen=True)
class Surroundings:
    """What a room needs of its node."""

    node: str
    instance: str
    settings: NodeSettings
    log: RoomLog
    relay: Relay
    workers: Workers
    alarms: Alarms
    load: Load
    broadcast: Broadcast
