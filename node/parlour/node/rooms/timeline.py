"""Where a room stands on this node: its epoch and offset, what is held for its turn, and the latest of what was said.

This module is pure and has no lock: the room's mutex guards its instances, of which epoch and offset may be read
without. It must never go on past a message that is missing, unless told from where on the log is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from parlour.node.log import Extent
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.reorder import ReorderBuffer
from parlour.node.rooms.ring import Ring
from parlour.wire.messages import MAX_OFFSET, Join, Message

__all__ = ["LastMessage", "Timeline"]


EPOCHS = 16
"""Epochs that are over whose places are still known, at most."""


class LastMessage(NamedTuple):
    """What a message is known by: another log, or one that lost its end, has another at this offset, or none.

    `id` is empty if it is not known, or not kept; `at` is in milliseconds since the Unix epoch.
    """

    offset: int
    id: str = ""
    at: int = 0


class Timeline:
    """Goes on from batch to batch; before `begin` the epoch is empty."""

    def __init__(self, size: int) -> None:
        """Keep about `size` bytes of frames for those who have to catch up."""
        self._size = size
        self.epoch = ""
        self._valid: dict[str, int] = {}
        self.begin(Extent("", 0, 0), LastMessage(0))

    def begin(self, extent: Extent, last: LastMessage, shared: bool = False) -> None:
        """Go on after a message of the log, with nothing of what follows here.

        It is `shared` if it is the last that the log has of what was delivered here; members go on from there at the
        latest. Else their places are void.
        """
        # Of epochs that are over, and of this one if it begins anew, up to which offset their places are places here.
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
        self._foreign: tuple[str, int] = ("", 0)  # another epoch, and the first offset of it that was heard of
        self.false = False  # what was delivered is not what was logged

    @property
    def last(self) -> LastMessage:
        """The last message delivered."""
        last = self._ring.last
        return LastMessage(last.offset, last.id, last.at) if last is not None else self._last

    def delivered(self) -> dict[int, str]:
        """Return the ids of the latest messages delivered, by offset."""
        known = {self.began: self._last.id} if self._last.id else {}
        return {**known, **{message.offset: message.id for message in self._ring.messages()}}

    def fresh(self, extent: Extent, latest: Iterable[Message]) -> int:
        """Return the offset behind which messages of a log that has none of those delivered here are new.

        They were heard of, or of the `latest` they are, by their times.
        """
        epoch, first = self._foreign
        heard = [first] if epoch == extent.epoch else []
        last = self.last.at
        later = [message.offset for message in latest if last and message.at > last]
        return max(extent.trimmed, min([extent.top, *(offset - 1 for offset in (*heard, *later))]))

    @property
    def known(self) -> int:
        """How far the room is said to be."""
        return self._buffer.known

    def fits(self, extent: Extent) -> bool:
        """Whether one can go on from here: the log has this epoch, has come so far, and keeps what comes next."""
        return extent.epoch == self.epoch and extent.trimmed <= self.offset <= extent.top

    def overtaken(self, arrival: Arrival) -> bool:
        """Whether the log has to be asked how far it is: it seems to be another, or not to have what is here."""
        if arrival.epoch != self.epoch and arrival.batch is not None:
            epoch, first = self._foreign
            first = min(first, arrival.batch.first) if epoch == arrival.epoch else arrival.batch.first
            self._foreign = (arrival.epoch, first)
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
            self._buffer.hint(arrival.top)
            if arrival.known:  # from the log
                self._buffer.retract(arrival.top, arrival.known)
            if arrival.batch is not None:
                if arrival.batch.first <= self._buffer.offset and not self._ring.agrees(arrival.batch):
                    self.false = True
                ripe += self._buffer.offer(arrival.batch)
        for batch in ripe:
            self._ring.add(batch)
            for offset in batch.deleted:
                self._ring.delete(offset)
        self.offset = self._buffer.offset
        return ripe

    def hole(self) -> tuple[int, int] | None:
        """Return the first and last offset of the messages missed next, or None if nothing is missing."""
        return self._buffer.hole()

    def after(self, offset: int) -> list[Batch] | None:
        """Return batches with what follows an offset, or a part of it; None if that is not here."""
        return self._ring.after(offset, self._size)

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, if it is here."""
        return self._ring.message(offset)

    def note(self, batches: Iterable[Batch]) -> None:
        """Count the encodings that were made of batches."""
        self._ring.note(batches)

    def reach(self, join: Join, modern: bool) -> Extent | None:
        """Return what is here, if that is all that a joining client may want; else None."""
        # A client that comes from a node that is quicker may be ahead of this one, but not of the log.
        start = max(0, self.offset - join.history) if join.after is None else join.after
        ours = join.epoch in (None, self.epoch) or (modern and start <= self._valid_to(join.epoch))
        return Extent(self.epoch, self._ring.start, self.offset) if ours and self._ring.reaches(start) else None

    def place(self, join: Join, kept: Extent, found: bool, modern: bool) -> tuple[int, bool]:
        """Return after which offset a joining client is to begin, and whether that is the position it asked for.

        `kept` is what the log has, or what is enough of it; `found` tells that it has the message that the client
        names. Another node may have brought the log further. Who does not know better (not `modern`) is sent all that
        is kept where its place is none.
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
        # From the last message that is still there, if one is known to be, or as a newcomer.
        return (known if not same and known >= start else max(start, end - join.history)), False

    def notice(self, epoch: str, offset: int, history: int, modern: bool, trimmed: int) -> tuple[int, bool] | None:
        """Return as `place` does where a member goes on whose place is of this epoch; None if just there.

        Where something was trimmed meanwhile, `trimmed` is how far.
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
