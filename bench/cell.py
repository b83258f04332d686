"""The cells of the benchmark: how many members there are and how many send, as the load generator gets them.

This module owns the list of cells; it is pure. It must never depend on a server: all servers get the same load.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ALONE", "DIALECTS", "QUICK", "SIDE_BY_SIDE", "Cell"]


class Cell(NamedTuple):
    """One load: `rooms` rooms of `members` members each, of which `senders` send.

    Each sender has `window` posts on the way; or, if `rate` is not 0, all senders together send `rate` posts a second.
    """

    members: int
    senders: int
    window: int = 0
    rate: int = 0
    rooms: int = 1

    @property
    def paced(self) -> bool:
        """Whether the clock, and not the server, sets the speed."""
        return self.rate > 0

    @property
    def round_deliveries(self) -> int:
        """The deliveries of all posts that may be on the way at once."""
        return self.rooms * self.members * self.senders * self.window

    @property
    def label(self) -> str:
        """The cell in words."""
        size = f"{self.rooms} rooms of {self.members}" if self.rooms > 1 else f"{self.members} members"
        return f"{size}, {self.rate:,} posts/s" if self.paced else f"{size}, S = {self.senders}, W = {self.window}"

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
"""The cells in which all servers are measured."""

ALONE = [Cell(10, 10, 16), Cell(100, 10, 16), Cell(1000, 10, 16), Cell(1000, 1000, 1), Cell(100, 100, rate=200)]
"""The cells in which parlour's room logs are compared."""

DIALECTS = [Cell(10, 10, 1), Cell(10, 10, 16), Cell(100, 10, 16), Cell(1000, 10, 16), Cell(100, 100, rate=200)]
"""The cells in which parlour's dialects are compared."""

QUICK = [Cell(10, 10, 16), Cell(10, 10, rate=500)]
"""The cells that check that everything works."""
