"""When to tell the other nodes again where a room stands: a few times when there is reason to, then not at all.

This module is pure but for the alarms; the room's mutex guards its instances. It must never beat in a room where
nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.node.alarms import Alarms

__all__ = ["Heartbeat"]

BEATS = (0.25, 1.0, 2.0)
"""Seconds after the reason to. The first shows a lost last batch soon; the others, should that beat be lost as well."""


class Heartbeat:
    """Has `beat` called by a worker, a few times after each `begin`; `beat` calls `beaten`."""

    def __init__(self, alarms: Alarms, beat: Callable[[], object]) -> None:
        self._alarms = alarms
        self._work = beat
        self._next = 0
        self._set = False

    def begin(self) -> None:
        """Something changed, or somebody begins to listen: begin the series anew."""
        self._next = 0
        if not self._set:
            self._set = True
            self._alarms.after(BEATS[0], self._work)

    def beaten(self) -> None:
        """The other nodes are being told; have it done again if the series goes on."""
        before, self._next = self._next, self._next + 1
        self._set = self._next < len(BEATS)
        if self._set:
            self._alarms.after(BEATS[self._next] - BEATS[before], self._work)
