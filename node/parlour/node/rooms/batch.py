"""Data for many members: encoded once as frames, and once in each other variant that some of them use.

This module owns the encodings of a batch; any thread may ask for one. It must never encode the same batch once for
each member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from parlour.dialects import Encoding, Variant
from parlour.wire.codec import skip_frames
from parlour.wire.messages import Message
from parlour.wire.records import STATE_KINDS

__all__ = ["Arrival", "Batch", "Encoded", "data_after", "parts"]


class Encoded:
    """Frames, and their encodings in other variants, each made when it is first needed."""

    __slots__ = ("_encodings", "frames")

    def __init__(self, frames: bytes | memoryview) -> None:
        self.frames = frames
        # The dict is replaced, never changed. Two threads may encode at the same time; that repeats work but is safe.
        self._encodings: dict[Variant, Encoding] = {}

    def data(self, variant: Variant | None) -> bytes | memoryview:
        """Return the data in a variant; None stands for the frames."""
        return self.frames if variant is None else self.encoding(variant).data

    def encoding(self, variant: Variant) -> Encoding:
        """Return the encoding in a variant, with the ends of its messages."""
        encoding = self._encodings.get(variant)
        if encoding is None:
            encoding = variant.encode(self.frames)
            self._encodings = {**self._encodings, variant: encoding}
        return encoding

    def has(self, variant: Variant) -> bool:
        """Return whether the encoding in this variant is there already."""
        return variant in self._encodings

    @property
    def extra(self) -> int:
        """The bytes of all encodings, without the frames."""
        return sum(len(encoding.data) for encoding in self._encodings.values())

    def forget_encodings(self) -> None:
        """Drop all encodings; keep the frames."""
        self._encodings = {}


class Batch(Encoded):
    """Messages `first` to `last` of a room; `changes` are those of them that are of `CHANGE_KINDS`.

    A batch ends with its last change of the room's state, so that the change is done before what follows is delivered.
    """

    __slots__ = ("changes", "first", "last")

    def __init__(self, first: int, last: int, frames: bytes | memoryview, changes: Sequence[Message] = ()) -> None:
        super().__init__(frames)
        self.first = first
        self.last = last
        self.changes = changes

    def after(self, offset: int) -> Batch:
        """Return the part of the batch that follows an offset within it."""
        if offset < self.first:
            return self
        begin = skip_frames(self.frames, offset - self.first + 1)
        changes = [message for message in self.changes if message.offset > offset]
        return Batch(offset + 1, self.last, memoryview(self.frames)[begin:], changes)

    def between(self, first: int, last: int) -> memoryview:
        """Return the frames of messages `first` to `last`, which the batch must contain."""
        begin = skip_frames(self.frames, first - self.first)
        rest = memoryview(self.frames)[begin:]
        return rest[: skip_frames(rest, last - first + 1)]

    def data_after(self, variant: Variant | None, offset: int) -> bytes | memoryview:
        """Return, in a variant, the messages after an offset; all messages if the offset is before the batch."""
        if offset < self.first:
            return self.data(variant)
        if variant is None:
            return memoryview(self.frames)[skip_frames(self.frames, offset - self.first + 1) :]
        encoding = self.encoding(variant)
        return memoryview(encoding.data)[encoding.ends[offset - self.first] :]


def parts(batches: Sequence[Batch]) -> list[Sequence[Batch]]:
    """Split batches that follow each other after each change of the room's state."""
    found: list[Sequence[Batch]] = []
    begin = 0
    for number, batch in enumerate(batches, 1):
        if number == len(batches) or any(message.kind in STATE_KINDS for message in batch.changes):
            found.append(batches[begin:number])
            begin = number
    return found


def data_after(batches: Sequence[Batch], variant: Variant | None, offset: int) -> bytes | memoryview:
    """Return, in a variant, the messages after an offset, from batches that follow each other."""
    parts = [batch.data_after(variant, offset) for batch in batches if batch.last > offset]
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Arrival(NamedTuple):
    """News of a room: its last offset is `top` in `epoch`; with the batch that ends there, if it came along.

    News from the log have three more fields. The log keeps nothing up to `trimmed`. `offset` and `known` are what
    `Room.progress` returned before the log was asked: offsets of these that are above `top` are not in the log.
    """

    epoch: str
    top: int
    batch: Batch | None
    trimmed: int = 0
    offset: int = 0
    known: int = 0
