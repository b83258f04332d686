"""At most once in so many seconds: what is wanted sooner is done once, when its time has come.

This module is pure but for the scheduler; the room's mutex guards its instances. It must never let what was wanted be
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.runtime.scheduler import Scheduler

__all__ = ["Throttle"]


class Throttle:
    """Says whether it is time; if not, has `work` called by a worker when it is, which calls `come`."""

    def __init__(self, scheduler: Scheduler, interval: float, work: Callable[[], object]) -> None:
        self._scheduler = scheduler
        self._interval = interval
        self._work = work
        self._due = 0.0
        self.waiting = False

    def take(self, now: float) -> bool:
        """Whether it may be done now, in monotonic seconds, and then is; else it will be asked again."""
        if now >= self._due:
            self._due = now + self._interval
            return True
        if not self.waiting:
            self.waiting = True
            self._scheduler.after(self._due - now, self._work)
        return False

    def come(self) -> None:
        """The time has come that was waited for."""
        self.waiting = False
