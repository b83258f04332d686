"""The reorder buffer of a room: batches come in any order from relay and log, and leave by offset without a hole.

This module is pure and has no lock: the room's mutex guards its instances. It must never release a batch before
the one that precedes it, nor an offset twice.
"""

from __future__ import annotations

from bisect import insort

from parlour.node.rooms.batch import Batch

__all__ = ["HELD", "ReorderBuffer"]

HELD = 1024
"""Early batches kept, at most; the room reads the others from the log when their turn comes."""


class ReorderBuffer:
    """Holds early batches until their turn, and knows which messages are missing."""

    def __init__(self, offset: int) -> None:
        """Begin after `offset`: the next message to come out is `offset` + 1."""
        self.offset = offset
        self._known = offset
        self._held: list[Batch] = []

    def hint(self, top: int) -> None:
        """Note that the log holds messages up to `top`."""
        self._known = max(self._known, top)

    @property
    def known(self) -> int:
        """The highest offset that any source has claimed for the room."""
        return self._known

    def retract(self, top: int, known: int) -> None:
        """Forget claims of offsets above `top`, up to `known`: the log does not have them."""
        if top < self._known <= known:
            self._held = [batch for batch in self._held if batch.last <= top]
            self._known = max(self.offset, top)

    def offer(self, batch: Batch) -> list[Batch]:
        """Take a batch in; return the batches whose turn it is now, in order, without messages released before."""
        self.hint(batch.last)
        if batch.last <= self.offset:
            return []
        if batch.first > self.offset + 1:
            if len(self._held) < HELD:
                insort(self._held, batch, key=lambda held: held.first)
            return []
        out: list[Batch] = []
        self._release(batch, out)
        ripe = 0
        for held in self._held:
            if held.first > self.offset + 1:
                break
            ripe += 1
            self._release(held, out)
        del self._held[:ripe]
        return out

    def hole(self) -> tuple[int, int] | None:
        """Return the first and last offset of the next missing messages, or None if none are missing."""
        if self._known == self.offset:
            return None
        return self.offset + 1, self._held[0].first - 1 if self._held else self._known

    def _release(self, batch: Batch, out: list[Batch]) -> None:
        if batch.last > self.offset:
            out.append(batch.after(self.offset))
            self.offset = batch.last
