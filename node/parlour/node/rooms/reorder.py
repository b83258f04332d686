"""The order of one room: batches come in as the relay and the log give them, and leave by offset without a hole.

This module is pure and has no lock: the room's mutex guards its instances. It must never let out a batch before
the one that precedes it, nor an offset twice.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import NamedTuple

from parlour.wire.codec import messages_of, skip_frames
from parlour.wire.messages import Message

__all__ = ["HELD", "Arrival", "Batch", "ReorderBuffer", "Ring", "joined"]

HELD = 1024
"""Early batches kept at most; what does not fit is read from the log when its turn comes."""


class Batch(NamedTuple):
    """Messages `first` to `last`, as their frames joined."""

    first: int
    last: int
    frames: bytes | memoryview

    def after(self, offset: int) -> Batch:
        """Return the part of the batch that follows an offset within it."""
        if offset < self.first:
            return self
        begin = skip_frames(self.frames, offset - self.first + 1)
        return Batch(offset + 1, self.last, memoryview(self.frames)[begin:])

    def between(self, first: int, last: int) -> memoryview:
        """Return the frames of messages `first` to `last`, all of them within the batch."""
        begin = skip_frames(self.frames, first - self.first)
        rest = memoryview(self.frames)[begin:]
        return rest[: skip_frames(rest, last - first + 1)]


class Arrival(NamedTuple):
    """What came over the relay: that the room stands at `top` of `epoch`, and perhaps the batch that ends there.

    From the log comes also that what was up to `trimmed` is not kept, and how far the room was, and was said to be,
    when the log was asked: what is above `top` of that is in no log.
    """

    epoch: str
    top: int
    batch: Batch | None
    trimmed: int = 0
    offset: int = 0
    known: int = 0


def joined(batches: list[Batch]) -> Batch:
    """Return batches that follow each other as one."""
    if len(batches) == 1:
        return batches[0]
    return Batch(batches[0].first, batches[-1].last, b"".join(batch.frames for batch in batches))


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


class Ring:
    """The frames of a room's latest messages, those after `start`, of bounded size, for those who have to catch up."""

    def __init__(self, size: int, offset: int) -> None:
        """Begin after `offset`; keep `size` bytes at most, and the last batch whatever its size."""
        self.start = self._end = offset
        self._size = size
        self._bytes = 0
        self._batches: deque[Batch] = deque()

    def add(self, batch: Batch) -> None:
        """Add the batch that follows the last one."""
        self._batches.append(batch)
        self._end = batch.last
        self._bytes += len(batch.frames)
        while self._bytes > self._size and len(self._batches) > 1:
            dropped = self._batches.popleft()
            self.start = dropped.last
            self._bytes -= len(dropped.frames)

    def reaches(self, offset: int) -> bool:
        """Whether all that follows `offset` is here."""
        return self.start <= offset <= self._end

    @property
    def last(self) -> Message | None:
        """The last message, if one is here."""
        return messages_of(self._batches[-1].between(self._end, self._end))[0] if self._batches else None

    def messages(self) -> list[Message]:
        """Return all messages that are here."""
        return [message for batch in self._batches for message in messages_of(batch.frames)]

    def agrees(self, batch: Batch) -> bool:
        """Whether the batch has, of the messages that are here, the same ones."""
        for ours in self._batches:
            first, last = max(batch.first, ours.first), min(batch.last, ours.last)
            if first <= last:
                mine, theirs = (bytes(each.between(first, last)) for each in (ours, batch))
                # Nodes of two versions may write a message in two ways: then it is told by its id.
                if mine != theirs and [m.id for m in messages_of(mine)] != [m.id for m in messages_of(theirs)]:
                    return False
        return True

    def after(self, offset: int, size: int) -> Batch | None:
        """Return what follows `offset`, about `size` bytes of it; None if the ring does not reach back so far."""
        if not self.start <= offset < self._end:
            return None
        found: list[Batch] = []
        for batch in reversed(self._batches):
            found.append(batch)
            if batch.first <= offset + 1:
                break
        found.reverse()
        found[0] = found[0].after(offset)
        total = 0
        for count, batch in enumerate(found, 1):
            total += len(batch.frames)
            if total >= size:
                return joined(found[:count])
        return joined(found)
