"""The role that lets one thread at a time do a room's work, batch after batch.

This module owns that role: `busy` says that a thread has it, and the room's mutex guards `busy`. It must never give the
role to two threads, nor leave work undone because no thread has the role.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.runtime.scheduler import Scheduler, WorkerPool

__all__ = ["Combiner"]

STEPS = 8
"""Steps that a client's own thread does before it hands the role to a worker."""

RETRY = 0.2
"""Seconds until a worker continues after a step that failed."""


class Combiner:
    """Runs `step` until there is no work."""

    def __init__(self, step: Callable[[], bool], workers: WorkerPool, scheduler: Scheduler) -> None:
        """Call `step` repeatedly: it does some work; if there is none, it sets `busy` to False and returns False."""
        self._step = step
        self._workers = workers
        self._scheduler = scheduler
        self.busy = False

    def claim(self) -> bool:
        """Take the role unless another thread has it; return whether this thread must `run`. The mutex is held."""
        if self.busy:
            return False
        self.busy = True
        return True

    def run(self) -> None:
        """Work until nothing is left; after `PASSES` steps a worker continues."""
        for _ in range(STEPS):
            try:
                if not self._step():
                    return
            except BaseException:
                # The role stays taken, so another thread has to continue.
                self._scheduler.after(RETRY, self.run)
                raise
        self._workers.put(self.run)

    def run_elsewhere(self) -> None:
        """Have a worker `run`."""
        self._workers.put(self.run)
