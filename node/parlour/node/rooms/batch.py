"""Messages of a room that follow each other, encoded once as frames.

This module is pure; instances are never changed, and any thread may read them. It must never copy frames for each
member: a part of a batch is a view of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from parlour.wire.codec import skip_frames

__all__ = ["Arrival", "Batch", "joined"]


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
    """News of a room: it stands at `top` of `epoch`; perhaps with the batch that ends there.

    News from the log also tell that what was up to `trimmed` is not kept, and how far the room was, and was said to be,
    when the log was asked: what is above `top` of that is in no log.
    """

    epoch: str
    top: int
    batch: Batch | None
    trimmed: int = 0
    offset: int = 0
    known: int = 0


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches that follow each other as one."""
    if len(batches) == 1:
        return batches[0]
    return Batch(batches[0].first, batches[-1].last, b"".join(batch.frames for batch in batches))
