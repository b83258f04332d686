"""The watches of a node for its operator: the links to its peers, the room log, the clocks.

This module owns the list of troubles in the load report; the fleet thread reads it. It must never let the list outgrow
a report.
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
"""Troubles in a report, at most, and characters of each."""


class Watches:
    """The watches of one node."""

    def __init__(self, log: WatchedLog, relay: Relay, scheduler: Scheduler, check_log: Callable[[], None]) -> None:
        """Watch these parts; `check_log` reads all rooms' last offsets from the log."""
        self.links = LinkWatch(relay, scheduler, check_log)
        self.log = LogWatch(log, scheduler)
        self.clock = ClockWatch()

    def start(self) -> None:
        """Begin to watch; the scheduler's stop ends the watches."""
        self.links.start()
        self.log.start()

    def troubles(self) -> list[str]:
        """Return a line for each trouble that the operator has to mend."""
        troubles = [*self.log.troubles(), *self.links.troubles(), *self.clock.troubles()]
        return [line[:LENGTH] for line in troubles[:TROUBLES]]
