"""The latest messages of a room, kept in memory for members that catch up or have just joined.

This module is pure and has no lock: the room's mutex guards its instances. It must never keep more than its size, but
for the last batch.
"""

from __future__ import annotations

from collections import deque

from parlour.node.rooms.batch import Batch, joined
from parlour.wire.codec import messages_of
from parlour.wire.messages import Message

__all__ = ["Ring"]


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
