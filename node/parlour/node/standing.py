"""Where a room stands on this node: its epoch and offset, what is held for its turn, and the latest of what was said.

This module is pure and has no lock: the room's mutex guards its instances, of which epoch and offset may be read
without. It must never go on past a message that is missing, unless told from where on the log is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from parlour.node.log import Extent
from parlour.node.order import Arrival, Batch, Order, Ring
from parlour.wire.messages import Join

__all__ = ["Standing"]


class Standing:
    """Goes on from batch to batch; before `begin` the epoch is empty."""

    def __init__(self, size: int) -> None:
        """Keep about `size` bytes of frames for those who have to catch up."""
        self._size = size
        self.begin(Extent("", 0, 0))

    def begin(self, extent: Extent) -> None:
        """Go on after all that the log holds, with nothing of it here."""
        self.epoch = extent.epoch
        self.offset = extent.top
        self._order = Order(extent.top)
        self._ring = Ring(self._size, extent.top)
        self.false = False  # what was delivered is not what was logged

    @property
    def known(self) -> int:
        """How far the room is said to be."""
        return self._order.known

    def fits(self, extent: Extent) -> bool:
        """Whether one can go on from here: the log has this epoch, has come so far, and keeps what comes next."""
        return extent.epoch == self.epoch and extent.trimmed <= self.offset <= extent.top

    def overtaken(self, arrival: Arrival) -> bool:
        """Whether the log has to be asked how far it is: it seems to be another, or not to have what is here."""
        return arrival.epoch != self.epoch or arrival.trimmed > self.offset or arrival.top < arrival.offset

    def take(self, arrivals: Iterable[Arrival]) -> list[Batch]:
        """Take in what came; return the batches whose turn it now is, in order.

        Where two tell of different messages at the same offsets, `false` becomes true: the log has to be asked. What is
        of another epoch still is in the log, which the next message or heartbeat will show.
        """
        ripe: list[Batch] = []
        for arrival in arrivals:
            if arrival.epoch != self.epoch:
                continue
            self._order.hint(arrival.top)
            self._order.retract(arrival.top, arrival.known)
            if arrival.batch is not None:
                if arrival.batch.first <= self._order.offset and not self._ring.agrees(arrival.batch):
                    self.false = True
                ripe += self._order.offer(arrival.batch)
        for batch in ripe:
            self._ring.add(batch)
        self.offset = self._order.offset
        return ripe

    def hole(self) -> tuple[int, int] | None:
        """Return the first and last offset of the messages missed next, or None if nothing is missing."""
        return self._order.hole()

    def after(self, offset: int) -> Batch | None:
        """Return what follows an offset, or a part of it; None if that is not here."""
        return self._ring.after(offset, self._size)

    def reach(self, join: Join) -> Extent | None:
        """Return what is here, if that is all that a joining client may want; else None."""
        # A client that comes from a node that is quicker may be ahead of this one, but not of the log.
        start = max(0, self.offset - join.history) if join.after is None else join.after
        if join.epoch in (None, self.epoch) and self._ring.reaches(start):
            return Extent(self.epoch, self._ring.start, self.offset)
        return None

    def place(self, join: Join, kept: Extent) -> tuple[int, bool]:
        """Return after which offset a joining client is to begin, and whether that is the position it asked for.

        Another node may have brought the log further. It is all or nothing: a position that is not of this epoch, or
        behind which something was trimmed away, brings the whole of the history that is kept.
        """
        start = min(kept.trimmed, self.offset)
        if join.after is None:
            return max(start, self.offset - join.history), True
        if start <= join.after <= max(kept.top, self.offset) and join.epoch in (None, self.epoch):
            return join.after, True
        return start, False
