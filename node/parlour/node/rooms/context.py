"""The parts of a node that its rooms use, in one object.

This module owns that list alone. Instances are immutable, and any thread may call the parts that they name.
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
    """The parts of a node that a room uses."""

    node: str
    instance: str
    settings: NodeSettings
    log: RoomLog
    relay: Relay
    workers: WorkerPool
    scheduler: Scheduler
    load: Load
    deliver: Deliver
