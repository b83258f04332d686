"""The latest messages of a room, kept in memory for members that catch up or have just joined.

This module is pure and has no lock: the room's mutex guards its instances. It must never keep more than its size,
except for the last batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from parlour.node.rooms.batch import Batch
from parlour.wire.codec import frames, messages_of
from parlour.wire.messages import Message, erased
from parlour.wire.records import EDIT

__all__ = ["Ring"]


class Ring:
    """The frames of a room's latest messages, those after `start`; their size is bounded."""

    def __init__(self, size: int, offset: int) -> None:
        """Begin after `offset`; keep at most `size` bytes of frames, and the last batch whatever its size.

        The ring also keeps at most `size` bytes of other encodings: dropped ones can be made again.
        """
        self.start = self._end = offset
        self._size = size
        self._bytes = 0
        self._batches: deque[Batch] = deque()
        self._encoded: deque[tuple[Batch, int]] = deque()  # batches with encodings, and bytes of these
        self._extra = 0

    def add(self, batch: Batch) -> None:
        """Add the batch that follows the last one."""
        self._batches.append(batch)
        self._end = batch.last
        self._bytes += len(batch.frames)
        while self._bytes > self._size and len(self._batches) > 1:
            dropped = self._batches.popleft()
            self.start = dropped.last
            self._bytes -= len(dropped.frames)

    def covers(self, offset: int) -> bool:
        """Return whether all messages after `offset` are here."""
        return self.start <= offset <= self._end

    @property
    def last(self) -> Message | None:
        """The last message, if one is here."""
        return messages_of(self._batches[-1].between(self._end, self._end))[0] if self._batches else None

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, if it is here."""
        for batch in self._batches:
            if batch.first <= offset <= batch.last:
                return messages_of(batch.between(offset, offset))[0]
        return None

    def messages(self) -> list[Message]:
        """Return all messages in the ring."""
        return [message for batch in self._batches for message in messages_of(batch.frames)]

    def agrees(self, batch: Batch) -> bool:
        """Return whether the batch and the ring have the same messages at the offsets that both have."""
        for ours in self._batches:
            first, last = max(batch.first, ours.first), min(batch.last, ours.last)
            if first <= last:
                mine, theirs = (bytes(each.between(first, last)) for each in (ours, batch))
                # Nodes of two versions may encode the same message differently: then the ids are compared.
                if mine != theirs and [m.id for m in messages_of(mine)] != [m.id for m in messages_of(theirs)]:
                    return False
        return True

    def note(self, batches: Iterable[Batch]) -> None:
        """Count the encodings of these batches, and drop the oldest encodings if all together have too many bytes."""
        for batch in batches:
            self._encoded.append((batch, batch.extra))
            self._extra += batch.extra
        while self._encoded and (self._extra > self._size or self._encoded[0][0].last <= self.start):
            dropped, size = self._encoded.popleft()
            dropped.forget_encodings()
            self._extra -= size

    def delete(self, offset: int) -> None:
        """Delete the text of a record and of its edits, as the log has done."""
        # Deletions are rare, so all encodings may be made anew; batches that left the ring have some of them, too.
        for batch, _ in self._encoded:
            batch.forget_encodings()
        self._encoded.clear()
        self._extra = 0
        for place, batch in enumerate(self._batches):
            if batch.last < offset:
                continue
            messages = messages_of(batch.frames)
            kept = [
                erased(message)
                if message.offset == offset or (message.kind, message.ref) == (EDIT, offset)
                else message
                for message in messages
            ]
            if kept != messages:
                fresh = self._batches[place] = Batch(batch.first, batch.last, frames(kept), batch.changes)
                self._bytes += len(fresh.frames) - len(batch.frames)

    def after(self, offset: int, size: int) -> list[Batch] | None:
        """Return the batches with the messages after `offset`, about `size` bytes; None if those are not here.

        The first batch may begin before `offset`.
        """
        if not self.start <= offset < self._end:
            return None
        found: list[Batch] = []
        for batch in reversed(self._batches):
            found.append(batch)
            if batch.first <= offset + 1:
                break
        found.reverse()
        total = 0
        for count, batch in enumerate(found, 1):
            total += len(batch.frames)
            if total >= size:
                return found[:count]
        return found
