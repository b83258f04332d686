"""A node's watch of its room log: it tells the operator when the log fails or is back, and what a crash would lose.

This module owns that watch, which a worker runs. It must never be the only check of the log: each post is one, too, and
its answer tells the sender of a failure.
"""

from __future__ import annotations

import time
from contextlib import suppress

from parlour.node.log import LogError
from parlour.node.log.watched import WatchedLog
from parlour.runtime.logs import node_log
from parlour.runtime.scheduler import Scheduler

__all__ = ["LogWatch"]

INTERVAL = 2.0
"""Seconds between two checks, also while no posts come."""


class LogWatch:
    """The watch of a node's room log."""

    def __init__(self, log: WatchedLog, scheduler: Scheduler) -> None:
        self._log = log
        self._scheduler = scheduler
        self._away = 0.0  # the start of the failure that the operator was told, in monotonic seconds; 0: no failure
        self._remark = ""  # the log's remark at the last check, which may ask the file system

    def start(self) -> None:
        """Begin to watch; the scheduler's stop ends the watch."""
        self._log_changes()
        self._scheduler.every(INTERVAL, self._watch)

    def troubles(self) -> list[str]:
        """Return a line for each trouble of the log."""
        lines = [self._remark] if self._remark else []
        if (failure := self._log.failure()) is not None:
            since, text = failure
            lines.insert(0, f"for {time.monotonic() - since:.0f} s nothing can be said: {text}")
        return lines

    def _watch(self) -> None:
        with suppress(LogError):
            self._log.check()
        self._log_changes()

    def _log_changes(self) -> None:
        failure, remark = self._log.failure(), self._log.remark
        if failure is not None and not self._away:
            self._away = failure[0]
            node_log.error("the room log is away, nothing can be said: %s", failure[1])
        elif failure is None and self._away:
            node_log.warning("the room log is back after %.0f s", time.monotonic() - self._away)
            self._away = 0.0
        if remark != self._remark:
            self._remark = remark
            if remark:
                node_log.warning("%s", remark)
