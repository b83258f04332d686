"""A room's timeline on this node: its epoch and offset, the early batches, and the latest messages.

This module is pure and has no lock: the room's mutex guards its instances, but epoch and offset may be read without it.
It must never pass a missing message, except when `begin` moves it to another position.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from parlour.node.log import Extent
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.reorder import ReorderBuffer
from parlour.node.rooms.ring import Ring
from parlour.wire.messages import MAX_OFFSET, Join, Message
from parlour.wire.records import REDACT

__all__ = ["LastMessage", "Timeline"]


EPOCHS = 16
"""Past epochs, at most, whose positions are still known."""


class LastMessage(NamedTuple):
    """The marks of a message: another log, or one that lost its end, has a different message here, or none.

    `id` is empty if it is unknown, or if the message is not kept; `at` is in milliseconds since the Unix epoch.
    """

    offset: int
    id: str = ""
    at: int = 0


class Timeline:
    """The order of a room from batch to batch; before `begin` the epoch is empty."""

    def __init__(self, size: int) -> None:
        """Keep about `size` bytes of frames for members that catch up."""
        self._size = size
        self.epoch = ""
        self._valid: dict[str, int] = {}
        self.begin(Extent("", 0, 0), LastMessage(0))

    def begin(self, extent: Extent, last: LastMessage, shared: bool = False) -> None:
        """Continue after the message `last` of the log, with an empty ring.

        `shared` tells that `last` was delivered here, and is the last such message in the log: then members continue
        there at the latest. Else their positions are void.
        """
        # For each past epoch, and for this one after a restart: the offset up to which its positions are valid here.
        before, same = self._valid, self.epoch == extent.epoch
        if shared:
            latest = list(before.items())[-EPOCHS:]
            self._valid = {epoch: min(valid, last.offset) for epoch, valid in latest}
            self._valid[self.epoch] = last.offset
        else:
            self._valid = {self.epoch: extent.trimmed} if same else {}
        self.epoch = extent.epoch
        self.trimmed = extent.trimmed
        self.began = self.offset = last.offset
        self._last = last
        self._buffer = ReorderBuffer(last.offset)
        self._buffer.hint(extent.top)
        self._ring = Ring(self._size, last.offset)
        self._foreign: tuple[str, int] = ("", 0)  # another epoch, and the first offset that was heard of it
        self.contradicted = False  # whether a message delivered here seems to differ from the logged one

    @property
    def last(self) -> LastMessage:
        """The last message delivered."""
        last = self._ring.last
        return LastMessage(last.offset, last.id, last.at) if last is not None else self._last

    def delivered(self) -> dict[int, str]:
        """Return the ids of the latest messages delivered, by offset."""
        known = {self.began: self._last.id} if self._last.id else {}
        return {**known, **{message.offset: message.id for message in self._ring.messages()}}

    def restart_offset(self, extent: Extent, latest: Iterable[Message]) -> int:
        """Return the offset behind which the messages of a log are new, if it has none of those delivered here.

        New are the messages that were heard of, and those of `latest` that are later than all delivered ones.
        """
        epoch, first = self._foreign
        heard = [first] if epoch == extent.epoch else []
        last = self.last.at
        later = [message.offset for message in latest if last and message.at > last]
        return max(extent.trimmed, min([extent.top, *(offset - 1 for offset in (*heard, *later))]))

    @property
    def known(self) -> int:
        """The highest offset that any source has claimed for the room."""
        return self._buffer.known

    def fits(self, extent: Extent) -> bool:
        """Return whether the log continues from here: it has this epoch and offset, and keeps the next message."""
        return extent.epoch == self.epoch and extent.trimmed <= self.offset <= extent.top

    def needs_log_check(self, arrival: Arrival) -> bool:
        """Return whether the room has to check the log: its epoch seems to differ, or messages seem to be missing."""
        if arrival.epoch != self.epoch and arrival.batch is not None:
            epoch, first = self._foreign
            first = min(first, arrival.batch.first) if epoch == arrival.epoch else arrival.batch.first
            self._foreign = (arrival.epoch, first)
        return arrival.epoch != self.epoch or arrival.trimmed > self.offset or arrival.top < arrival.offset

    def take(self, arrivals: Iterable[Arrival]) -> list[Batch]:
        """Take the arrivals in; return the batches whose turn it is now, in order.

        If two sources tell different messages at the same offset, `contradicted` becomes true: the log has to be asked.
        Arrivals of another epoch are dropped: the log has them, and the next message or heartbeat shows that.
        """
        ripe: list[Batch] = []
        for arrival in arrivals:
            if arrival.epoch != self.epoch:
                continue
            self._buffer.hint(arrival.top)
            if arrival.known:  # from the log
                self._buffer.retract(arrival.top, arrival.known)
            if arrival.batch is not None:
                if arrival.batch.first <= self._buffer.offset and not self._ring.agrees(arrival.batch):
                    self.contradicted = True
                ripe += self._buffer.offer(arrival.batch)
        for batch in ripe:
            self._ring.add(batch)
            for message in batch.changes:
                if message.kind == REDACT:
                    self._ring.delete(message.ref)
        self.offset = self._buffer.offset
        return ripe

    def hole(self) -> tuple[int, int] | None:
        """Return the first and last offset of the next missing messages, or None if none are missing."""
        return self._buffer.hole()

    def after(self, offset: int) -> list[Batch] | None:
        """Return batches with the messages after an offset, or the first of them; None if those are not here."""
        return self._ring.after(offset, self._size)

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, or None if it is not here."""
        return self._ring.message(offset)

    def note(self, batches: Iterable[Batch]) -> None:
        """Count the encodings of these batches."""
        self._ring.note(batches)

    def local_extent(self, join: Join, modern: bool) -> Extent | None:
        """Return the extent of the messages here, if they are enough for a joining client; else None."""
        # A client from a faster node may be ahead of this node, but not ahead of the log.
        start = max(0, self.offset - join.history) if join.after is None else join.after
        ours = join.epoch in (None, self.epoch) or (modern and start <= self._valid_to(join.epoch))
        return Extent(self.epoch, self._ring.start, self.offset) if ours and self._ring.covers(start) else None

    def join_position(self, join: Join, kept: Extent, found: bool, modern: bool) -> tuple[int, bool]:
        """Return the offset after which a joining client begins, and whether that is the position it asked for.

        `kept` is what the log has, or the sufficient part of it; `found` tells that it has the message that the client
        names. Another node may have brought the log further. A client that is not `modern` and has no valid position
        receives all that is kept.
        """
        here = kept.epoch == self.epoch
        end = self.offset if here else kept.top
        start = min(kept.trimmed, end)
        if join.after is None:
            return max(start, end - join.history), True
        same = found or join.epoch in (None, kept.epoch)
        known = self._valid_to(join.epoch) if here and modern else -1
        valid = max(kept.top, end) if same else known
        if start <= join.after <= valid:
            return join.after, True
        if not modern or join.after <= valid:
            return start, False
        # Begin after the last message that is known to be still in the log; without one, as a newcomer.
        return (known if not same and known >= start else max(start, end - join.history)), False

    def resume_position(
        self, epoch: str, offset: int, history: int, modern: bool, trimmed: int
    ) -> tuple[int, bool] | None:
        """Return, like `join_position`, where a member with this position continues; None if it keeps the position.

        If messages were trimmed meanwhile, `trimmed` is the last offset of them.
        """
        trimmed = min(max(trimmed, self.trimmed), self.offset)
        valid = MAX_OFFSET if epoch == self.epoch else -1
        valid = self._valid.get(epoch, valid)
        if valid < 0 or not (modern or epoch == self.epoch):
            return max(trimmed, self.began - history) if modern else trimmed, False
        after = max(trimmed, min(offset, valid))
        if after == offset:
            return None if epoch == self.epoch else (after, True)
        return after, False

    def _valid_to(self, epoch: str | None) -> int:
        return self._valid.get(epoch or "", -1)
