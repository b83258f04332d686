"""Whether this node's clock can be relied upon: the brokers and the log's server tell theirs.

This module owns what was told last; the fleet and the trimmer thread call it. It must never correct a clock, only say
that one is wrong: which of two that is, it cannot know.
"""

from __future__ import annotations

import time

from parlour.runtime.logs import node_log

__all__ = ["ClockWatch"]

OFF = 60.0
"""Seconds that two clocks may differ: what is forgotten by its age must not depend on whose clock it was."""

TOLD = 3.0
"""Seconds before the operator is told: a node that stood still hears for a moment what was said long ago."""

HEARD = 300.0
"""Seconds for which counts what a clock said: its broker may be gone for good."""

_UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60))


class ClockWatch:
    """The watch over a node's clock."""

    def __init__(self) -> None:
        # By whose clock it is: how far this one is ahead of it, and when that was heard (monotonic), in seconds.
        self._off: dict[str, tuple[float, float]] = {}
        self._wrong_since: float | None = None  # monotonic, in seconds
        self._told = False

    def hear(self, whose: str, at: int) -> None:
        """Take note of what another clock says now, in ms since the Unix epoch."""
        ahead, now = time.time() - at / 1000, time.monotonic()
        if abs(ahead) > OFF:
            self._off[whose] = (ahead, now)
        else:
            self._off.pop(whose, None)
        if self.right:
            if self._told:
                node_log.warning("the clocks agree again: history is trimmed as before")
            self._wrong_since, self._told = None, False
        elif self._wrong_since is None:
            self._wrong_since = now
        elif not self._told and now - self._wrong_since >= TOLD:
            self._told = True
            node_log.error("%s", self.troubles()[0])

    @property
    def right(self) -> bool:
        """Whether the clocks that were heard of lately agree with this one."""
        return not self._differing()

    def troubles(self) -> list[str]:
        """Return a line for each clock that differs from this one's."""
        return [
            f"the clock here is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {whose}: this node "
            "trims no history until they agree: set the wrong one (NTP)"
            for whose, ahead in self._differing().items()
        ]

    def _differing(self) -> dict[str, float]:
        since = time.monotonic() - HEARD
        return {whose: ahead for whose, (ahead, heard) in self._off.copy().items() if heard >= since}


def _span(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
