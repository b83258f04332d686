"""All that a node watches for its operator: the links to its peers, the room log, the clocks.

This module owns the list of troubles that the load report tells. It must never let it outgrow a report.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.node.cluster.clockwatch import ClockWatch
from parlour.node.cluster.linkwatch import LinkWatch
from parlour.node.cluster.logwatch import LogWatch
from parlour.node.cluster.relay import Relay
from parlour.node.log.watched import WatchedLog
from parlour.runtime.scheduler import Scheduler

__all__ = ["Watches"]

TROUBLES, LENGTH = 20, 300
"""Troubles that a report tells at most, and characters of each."""


class Watches:
    """The watches of one node."""

    def __init__(self, log: WatchedLog, relay: Relay, scheduler: Scheduler, look: Callable[[], None]) -> None:
        """Watch these; `look` reads from the log where all rooms stand."""
        self.links = LinkWatch(relay, scheduler, look)
        self.log = LogWatch(log, scheduler)
        self.clock = ClockWatch()

    def start(self) -> None:
        """Begin to watch; it ends with the scheduler."""
        self.links.start()
        self.log.start()

    def troubles(self) -> list[str]:
        """Return what the operator has to mend, a line each."""
        troubles = [*self.log.troubles(), *self.links.troubles(), *self.clock.troubles()]
        return [line[:LENGTH] for line in troubles[:TROUBLES]]
