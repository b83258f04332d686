"""What the rooms of a node need of the node, in one piece.

This module owns nothing but that list; instances are immutable, and what they name may be called by any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from parlour.node.cluster.load import Load
from parlour.node.cluster.relay import Relay
from parlour.node.log import RoomLog
from parlour.node.rooms.member import Deliver
from parlour.node.settings import NodeSettings
from parlour.runtime.scheduler import Scheduler, WorkerPool

__all__ = ["RoomContext"]


@dataclass(frozen=True)
class RoomContext:
    """What a room needs of its node."""

    node: str
    instance: str
    settings: NodeSettings
    log: RoomLog
    relay: Relay
    workers: WorkerPool
    scheduler: Scheduler
    load: Load
    deliver: Deliver
