"""A limit on how often something is done: at most once in an interval, and later requests once at its end.

This module is pure but for the scheduler; the room's mutex guards its instances. It must never forget a request.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.runtime.scheduler import Scheduler

__all__ = ["Throttle"]


class Throttle:
    """Allows one action per interval. If it refuses one, a worker calls `work` when the interval has elapsed.

    `work` calls `interval_elapsed`.
    """

    def __init__(self, scheduler: Scheduler, interval: float, work: Callable[[], object]) -> None:
        self._scheduler = scheduler
        self._interval = interval
        self._work = work
        self._due = 0.0
        self.waiting = False

    def take(self, now: float) -> bool:
        """Return whether the action may be done at `now` (monotonic seconds); if not, `work` is called later."""
        if now >= self._due:
            self._due = now + self._interval
            return True
        if not self.waiting:
            self.waiting = True
            self._scheduler.after(self._due - now, self._work)
        return False

    def interval_elapsed(self) -> None:
        """Note that the wait is over."""
        self.waiting = False
