"""What many members are sent: encoded once as frames, and once in each other variant that some of them use.

This module owns the encodings of a batch; any thread may ask for one. It must never encode for a single member what
others have been sent already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from parlour.dialects import Encoding, Variant
from parlour.wire.codec import skip_frames

__all__ = ["Arrival", "Batch", "Encoded", "data_after"]


class Encoded:
    """Frames, and their encodings in other variants, each made when it is first asked for."""

    __slots__ = ("_encodings", "frames")

    def __init__(self, frames: bytes | memoryview) -> None:
        self.frames = frames
        # Replaced, never changed: two threads that encode at the same time do the same work twice, which does no harm.
        self._encodings: dict[Variant, Encoding] = {}

    def data(self, variant: Variant | None) -> bytes | memoryview:
        """Return all of it in a variant; None stands for the frames."""
        return self.frames if variant is None else self.encoding(variant).data

    def encoding(self, variant: Variant) -> Encoding:
        """Return all of it in a variant, with the ends of its messages."""
        encoding = self._encodings.get(variant)
        if encoding is None:
            encoding = variant.encode(self.frames)
            self._encodings = {**self._encodings, variant: encoding}
        return encoding

    def has(self, variant: Variant) -> bool:
        """Whether it has been encoded in this variant already."""
        return variant in self._encodings

    @property
    def extra(self) -> int:
        """Bytes of the encodings besides the frames."""
        return sum(len(encoding.data) for encoding in self._encodings.values())

    def forget_encodings(self) -> None:
        """Keep the frames alone."""
        self._encodings = {}


class Batch(Encoded):
    """Messages `first` to `last` of a room; `deleted` are the offsets of the records that they delete."""

    __slots__ = ("deleted", "first", "last")

    def __init__(self, first: int, last: int, frames: bytes | memoryview, deleted: Sequence[int] = ()) -> None:
        super().__init__(frames)
        self.first = first
        self.last = last
        self.deleted = deleted

    def after(self, offset: int) -> Batch:
        """Return the part of the batch that follows an offset within it."""
        if offset < self.first:
            return self
        begin = skip_frames(self.frames, offset - self.first + 1)
        return Batch(offset + 1, self.last, memoryview(self.frames)[begin:], self.deleted)

    def between(self, first: int, last: int) -> memoryview:
        """Return the frames of messages `first` to `last`, all of them within the batch."""
        begin = skip_frames(self.frames, first - self.first)
        rest = memoryview(self.frames)[begin:]
        return rest[: skip_frames(rest, last - first + 1)]

    def data_after(self, variant: Variant | None, offset: int) -> bytes | memoryview:
        """Return in a variant what follows an offset; all of it if that is before the batch."""
        if offset < self.first:
            return self.data(variant)
        if variant is None:
            return memoryview(self.frames)[skip_frames(self.frames, offset - self.first + 1) :]
        encoding = self.encoding(variant)
        return memoryview(encoding.data)[encoding.ends[offset - self.first] :]


def data_after(batches: Sequence[Batch], variant: Variant | None, offset: int) -> bytes | memoryview:
    """Return in a variant what follows an offset in batches that follow each other."""
    parts = [batch.data_after(variant, offset) for batch in batches if batch.last > offset]
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
