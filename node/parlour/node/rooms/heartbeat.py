"""When to tell the other nodes again where a room stands: a few times when there is reason to, then not at all.

This module is pure but for the scheduler; the room's mutex guards its instances. It must never beat in a room where
nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parlour.runtime.scheduler import Scheduler

__all__ = ["Heartbeat", "Series"]

BEATS = (0.25, 1.0, 2.0)
"""Seconds after the reason to. The first shows a lost last batch soon; the others, should that beat be lost as well."""

LATE = (8.0, 16.0)
"""Also these: to a node that stands still and whose queue is full all of those are lost. By then it reads again, or the
relay has cut it off, and it is told when it is back."""


class Series:
    """Beats that are set until the last of them is over; `beat` is given the series, and calls `beaten` of it."""

    def __init__(self, scheduler: Scheduler, beat: Callable[[Series], object], beats: tuple[float, ...]) -> None:
        self._scheduler = scheduler
        self._work = partial(beat, self)
        self._beats = beats
        self._next = 0
        self._set = False

    def begin(self) -> None:
        """Begin anew."""
        self._next = 0
        if not self._set:
            self._set = True
            self._scheduler.after(self._beats[0], self._work)

    def beaten(self) -> None:
        """The other nodes are being told; have it done again if the series goes on."""
        before, self._next = self._next, self._next + 1
        self._set = self._next < len(self._beats)
        if self._set:
            self._scheduler.after(self._beats[self._next] - self._beats[before], self._work)


class Heartbeat:
    """Has `beat` called by a worker, a few times after each `begin`."""

    def __init__(self, scheduler: Scheduler, beat: Callable[[Series], object]) -> None:
        # Of one series a beat that is far off would hold up the first after the next reason.
        self._series = [Series(scheduler, beat, beats) for beats in (BEATS, LATE)]

    def begin(self) -> None:
        """Something changed, or somebody begins to listen: begin anew."""
        for series in self._series:
            series.begin()
