"""When to tell the other nodes again where a room stands: a few times after a change, then not at all.

This module is pure but for the alarms; the room's mutex guards its instances. It must never beat in a room where
nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.node.alarms import Alarms

__all__ = ["Heartbeat"]

BEATS = (0.25, 1.0, 2.0)
"""Seconds after a change. The first shows a lost last batch soon; the others, should that beat be lost as well."""


class Heartbeat:
    """Has `beat` called by a worker after changes; `beat` calls `beaten`."""

    def __init__(self, alarms: Alarms, beat: Callable[[], object]) -> None:
        self._alarms = alarms
        self._work = beat
        self._next = 0
        self._set = False

    def changed(self) -> None:
        """Something changed: begin the series anew."""
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
