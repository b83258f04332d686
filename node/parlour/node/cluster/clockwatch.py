"""The watch of this node's clock, which it compares with those of the brokers and of the log's server.

This module owns the last readings; the fleet thread and the trimmer thread call it. It must never correct a clock: it
says that two clocks differ, but cannot know which of them is wrong.
"""

from __future__ import annotations

import time

from parlour.runtime.logs import node_log

__all__ = ["ClockWatch"]

MAX_DIFFERENCE = 60.0
"""Seconds by which two clocks may differ: trimming by age must not depend on the clock that is read."""

ALERT_AFTER = 3.0
"""Seconds until the operator is told: a node that stood still reads old times for a moment."""

READING_LIFETIME = 300.0
"""Seconds for which a reading is valid: its broker may be gone for good."""

_UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60))


class ClockWatch:
    """The watch of a node's clock."""

    def __init__(self) -> None:
        # By the clock's owner: how far this node's clock is ahead, and when that was noted (monotonic), in seconds.
        self._ahead: dict[str, tuple[float, float]] = {}
        self._wrong_since: float | None = None  # monotonic, in seconds
        self._alerted = False

    def hear(self, owner: str, at: int) -> None:
        """Note the present time of another clock, in ms since the Unix epoch."""
        ahead, now = time.time() - at / 1000, time.monotonic()
        if abs(ahead) > MAX_DIFFERENCE:
            self._ahead[owner] = (ahead, now)
        else:
            self._ahead.pop(owner, None)
        if self.agrees:
            if self._alerted:
                node_log.warning("the clocks agree again: history is trimmed as before")
            self._wrong_since, self._alerted = None, False
        elif self._wrong_since is None:
            self._wrong_since = now
        elif not self._alerted and now - self._wrong_since >= ALERT_AFTER:
            self._alerted = True
            node_log.error("%s", self.troubles()[0])

    @property
    def agrees(self) -> bool:
        """Whether all other clocks agree with this one, by their valid readings."""
        return not self._differing()

    def troubles(self) -> list[str]:
        """Return a line for each clock that differs from this one."""
        return [
            f"the clock here is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {owner}: this node "
            "trims no history until they agree: set the wrong one (NTP)"
            for owner, ahead in self._differing().items()
        ]

    def _differing(self) -> dict[str, float]:
        since = time.monotonic() - READING_LIFETIME
        return {owner: ahead for owner, (ahead, heard) in self._ahead.copy().items() if heard >= since}


def _span(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
