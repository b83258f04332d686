"""The cells: who is there and who talks, as the load generator is told.

This module owns the list of what is measured; it is pure. It must never depend on a server: all are asked the same.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ALONE", "DIALECTS", "QUICK", "SIDE_BY_SIDE", "Cell"]


class Cell(NamedTuple):
    """One load: `rooms` of `members` each, of whom `senders` talk.

    Each sender has `window` posts on the way; or, if `rate` is not 0, all of them together send so many a second.
    """

    members: int
    senders: int
    window: int = 0
    rate: int = 0
    rooms: int = 1

    @property
    def paced(self) -> bool:
        """Whether the clock rules, and not the server."""
        return self.rate > 0

    @property
    def round(self) -> int:
        """Deliveries that follow from all posts that may be on the way at once."""
        return self.rooms * self.members * self.senders * self.window

    @property
    def label(self) -> str:
        """The cell in words."""
        who = f"{self.rooms} rooms of {self.members}" if self.rooms > 1 else f"{self.members} members"
        return f"{who}, {self.rate:,} posts/s" if self.paced else f"{who}, S = {self.senders}, W = {self.window}"

    def arguments(self) -> list[str]:
        """Return the cell as the generator's arguments."""
        return [f"{name}={value}" for name, value in self._asdict().items()]


_CLOSED = [
    Cell(members, senders, window)
    for members in (10, 100, 1000)
    for senders in dict.fromkeys((10, members))
    for window in (1, 16)
]

SIDE_BY_SIDE = [
    *_CLOSED,
    Cell(10, 10, 1, rooms=200),
    Cell(100, 100, rate=200),
    Cell(10, 10, rate=2000, rooms=200),
]
"""What everybody is measured with."""

ALONE = [Cell(10, 10, 16), Cell(100, 10, 16), Cell(1000, 10, 16), Cell(1000, 1000, 1), Cell(100, 100, rate=200)]
"""What parlour's room logs are compared in."""

DIALECTS = [Cell(10, 10, 1), Cell(10, 10, 16), Cell(100, 10, 16), Cell(1000, 10, 16), Cell(100, 100, rate=200)]
"""What parlour's dialects are compared in."""

QUICK = [Cell(10, 10, 16), Cell(10, 10, rate=500)]
"""Enough to see that everything works."""
