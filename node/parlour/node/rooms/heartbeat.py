"""The times at which a room tells the other nodes its last offset again: a few beats after each change, then none.

This module is pure but for the scheduler; the room's mutex guards its instances. It must never beat in a room where
nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parlour.runtime.scheduler import Scheduler

__all__ = ["BeatSeries", "Heartbeat"]

BEATS = (0.25, 1.0, 2.0)
"""Seconds after a change. The first beat soon shows the loss of a last batch; the others, if that beat is lost too."""

LATE = (8.0, 16.0)
"""Later beats, in seconds: a node that stands still and whose queue is full loses all of `BEATS`. By then it reads
again; or the relay has cut it off, and announces the room to it when it is back."""


class BeatSeries:
    """One series of beats. At each beat it calls `beat` with itself, and that function calls `advance`."""

    def __init__(self, scheduler: Scheduler, beat: Callable[[BeatSeries], object], beats: tuple[float, ...]) -> None:
        self._scheduler = scheduler
        self._work = partial(beat, self)
        self._beats = beats
        self._next = 0
        self._set = False

    def begin(self) -> None:
        """Begin the series again with its first beat."""
        self._next = 0
        if not self._set:
            self._set = True
            self._scheduler.after(self._beats[0], self._work)

    def advance(self) -> None:
        """Schedule the next beat, if the series has one."""
        before, self._next = self._next, self._next + 1
        self._set = self._next < len(self._beats)
        if self._set:
            self._scheduler.after(self._beats[self._next] - self._beats[before], self._work)


class Heartbeat:
    """Has a worker call `beat` a few times after each `begin`."""

    def __init__(self, scheduler: Scheduler, beat: Callable[[BeatSeries], object]) -> None:
        # In a single series, a beat that is far off would delay the first beat after the next change.
        self._series = [BeatSeries(scheduler, beat, beats) for beats in (BEATS, LATE)]

    def begin(self) -> None:
        """Begin all beats again, because something changed or another node begins to listen."""
        for series in self._series:
            series.begin()
