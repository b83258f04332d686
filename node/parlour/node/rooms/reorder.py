"""The order of one room: batches come in as the relay and the log give them, and leave by offset without a hole.

This module is pure and has no lock: the room's mutex guards its instances. It must never let out a batch before
the one that precedes it, nor an offset twice.
"""

from __future__ import annotations

from bisect import insort

from parlour.node.rooms.batch import Batch

__all__ = ["HELD", "ReorderBuffer"]

HELD = 1024
"""Early batches kept at most; what does not fit is read from the log when its turn comes."""


class ReorderBuffer:
    """Holds what came early until its turn, and knows what is missing."""

    def __init__(self, offset: int) -> None:
        """Begin after `offset`: the next message to come out is `offset` + 1."""
        self.offset = offset
        self._known = offset
        self._held: list[Batch] = []

    def hint(self, top: int) -> None:
        """Take note that the log holds messages up to `top`."""
        self._known = max(self._known, top)

    @property
    def known(self) -> int:
        """How far the room is said to be."""
        return self._known

    def retract(self, top: int, known: int) -> None:
        """Forget what was said to be above `top`, up to `known`: the log does not have it."""
        if top < self._known <= known:
            self._held = [batch for batch in self._held if batch.last <= top]
            self._known = max(self.offset, top)

    def offer(self, batch: Batch) -> list[Batch]:
        """Take a batch in; return the batches whose turn it now is, in order, without what was out before."""
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
        """Return the first and last offset of the messages missed next, or None if nothing is missing."""
        if self._known == self.offset:
            return None
        return self.offset + 1, self._held[0].first - 1 if self._held else self._known

    def _release(self, batch: Batch, out: list[Batch]) -> None:
        if batch.last > self.offset:
            out.append(batch.after(self.offset))
            self.offset = batch.last
