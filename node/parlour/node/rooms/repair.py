"""The repair of a room from the log: it reads messages that the relay lost, or that a failing log had stored after all.

This module owns a room's reads from the log: for the room itself on worker threads, whose findings enter the room like
arrivals from the relay; for a member that is behind on the thread that serves this member. It must never read at once
for a hole that the relay may fill in a moment, nor repeat without a pause for a hole that stays.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from parlour.node.log import Extent, LogError
from parlour.node.rooms.batch import Batch
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.timeline import LastMessage, Timeline
from parlour.runtime.locks import make_lock
from parlour.wire.codec import frame
from parlour.wire.messages import Join, Message
from parlour.wire.records import CHANGE_KINDS, STATE_KINDS

__all__ = ["Repair", "RepairedRoom"]

READ = 1000
"""Messages read from the log at once, at most."""

LATEST = 200
"""Messages of a replaced log, at most, whose times are looked at to find the new ones."""

RETRY = 0.5
"""Seconds until the next question to a log that failed, or that lacks messages which it should have."""


class RepairedRoom(Protocol):
    """A room, as its repair sees it."""

    name: str

    @property
    def epoch(self) -> str:
        """The epoch in which the room delivers."""
        ...

    def progress(self) -> tuple[int, int]:
        """Return the last offset that the room has delivered here, and the highest one that any source has claimed."""
        ...

    def last_missing(self, offset: int) -> int | None:
        """Return the last offset of the messages that are missing after `offset`; None if the hole is gone."""
        ...

    def arrive(
        self, epoch: str, top: int, batch: Batch | None = None, trimmed: int = 0, offset: int = 0, known: int = 0
    ) -> None:
        """Take in news from the log."""
        ...

    def combine_elsewhere(self) -> None:
        """Have a worker do the room's pending work."""
        ...


class Repair:
    """The reads of one room from the log."""

    def __init__(self, room: RepairedRoom, context: RoomContext) -> None:
        self._room = room
        self._context = context
        # Guards _mending and _checking. Rank 35.
        self._mutex = make_lock(35, f"repair of {room.name}")
        self._mending = False
        self._checking = False

    @property
    def busy(self) -> bool:
        """Whether a repair is under way, so that the room need not ask for another."""
        with self._mutex:
            return self._mending or self._checking

    def last_message(self, offset: int) -> LastMessage:
        """Return how to recognise the message at an offset, with an empty id if the log lacks it; raises LogError."""
        found = self.message(offset)
        return LastMessage(offset, found.id, found.at) if found is not None else LastMessage(offset)

    def check_join(self, join: Join, current: str, modern: bool) -> tuple[Extent, bool]:
        """Return what the log keeps, and whether it has the message that a client names from an earlier epoch.

        Only a `modern` client may name a message. `current` is the room's epoch; that of the log may differ. Raises
        LogError.
        """
        kept = self._context.log.extent(self._room.name)
        if kept.epoch != current:
            self.check_log_later()
        named = modern and join.id and join.after and join.epoch != kept.epoch
        return kept, bool(named and join.after and self.last_message(join.after).id == join.id)

    def restart_point(self, timeline: Timeline) -> tuple[Extent, LastMessage, bool] | None:
        """Return the arguments of `Timeline.begin` for a restart; None if none is needed, or if the log fails now."""
        try:
            extent = self._context.log.extent(self._room.name)
            if timeline.fits(extent) and not timeline.contradicted:
                return None
            shared = self._shared(timeline, extent)
            if shared is not None:
                return extent, shared, True
            latest = self._context.log.read(self._room.name, max(extent.trimmed, extent.top - LATEST), LATEST)
            return extent, self.last_message(timeline.restart_offset(extent, latest)), False
        except LogError:
            self.check_log_later()
            return None

    def _shared(self, timeline: Timeline, extent: Extent) -> LastMessage | None:
        """Return the last message that was delivered here and is in the log, if there is one; raises LogError.

        A log changes at its end only: if it has one of the delivered messages, it has those before it.
        """
        last, delivered = timeline.last, timeline.delivered()
        if last.id and extent.trimmed < last.offset <= extent.top and self.last_message(last.offset).id == last.id:
            return last
        offsets = [offset for offset in delivered if extent.trimmed < offset <= extent.top]
        if not offsets:
            return None
        found = self._context.log.read(self._room.name, min(offsets) - 1, len(offsets))
        same = [message for message in found if delivered.get(message.offset) == message.id]
        return LastMessage(same[-1].offset, same[-1].id, same[-1].at) if same else None

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, None if the log lacks it; raises LogError."""
        for found in self._context.log.read(self._room.name, offset - 1, 1) if offset else []:
            if found.offset == offset:
                return found
        return None

    def follow(self, epoch: str, offset: int, current: str, top: int) -> Batch | Extent:
        """Return the messages in the log after a position, up to the room's own offset; raises LogError.

        If the member cannot continue from that position, return what the log keeps.
        """
        batch = self._read(offset, top - offset) if epoch == current else None
        # An epoch that has ended does not come again: if it has not ended now, the messages read belong to it.
        extent = self._context.log.extent(self._room.name)
        if extent.epoch == current:
            if batch is not None and batch.first == offset + 1:
                return batch
            if epoch != current or offset < extent.trimmed:
                return extent
        self.check_log_later()
        raise LogError(f"the room log lacks messages of {self._room.name} after {offset}")

    def _read(self, after: int, limit: int) -> Batch | None:
        """Return the messages after an offset: at most `limit`, and about as many bytes as the ring holds.

        A batch ends with a state record: the room's state is to change before what follows is delivered.

        Raises LogError if the log fails.
        """
        frames: list[bytes] = []
        size = 0
        messages = self._context.log.read(self._room.name, after, min(limit, READ))
        for message in messages:
            frames.append(frame(message))
            size += len(frames[-1])
            if message.kind in STATE_KINDS or size >= self._context.settings.ring_bytes:
                break
        if not frames:
            return None
        self._context.load.read(len(frames))
        first = messages[0].offset
        changes = [message for message in messages[: len(frames)] if message.kind in CHANGE_KINDS]
        return Batch(first, first + len(frames) - 1, b"".join(frames), changes)

    def mend(self, offset: int) -> None:
        """Read the messages missing after `offset`, unless the relay brings them first. Takes only its own lock."""
        with self._mutex:
            if self._mending or self._checking:
                return
            self._mending = True
        self._context.scheduler.after(self._context.settings.hole_wait, partial(self._mend, offset))

    def check_log(self) -> None:
        """Ask the log for its last offset, now; raises LogError."""
        # The progress is read before the question, because the room may go on meanwhile.
        offset, known = self._room.progress()
        extent = self._context.log.extent(self._room.name)
        self._room.arrive(extent.epoch, extent.top, trimmed=extent.trimmed, offset=offset, known=known)

    def check_log_later(self) -> None:
        """Ask the log for its last offset in `RETRY` seconds: it may have more messages, or be another log."""
        with self._mutex:
            if self._checking:
                return
            self._checking = True
        self._context.scheduler.after(RETRY, self._check)

    def _mend(self, offset: int) -> None:
        epoch = self._room.epoch
        last = self._room.last_missing(offset)
        batch = None
        if last is not None:
            try:
                batch = self._read(offset, last - offset)
                if self._context.log.extent(self._room.name).epoch != epoch:
                    batch = None  # the messages read may belong to another epoch
            except LogError:
                batch = None  # the log is asked later, as it is when it lacks messages that other nodes have seen
            if batch is None or batch.first != offset + 1:
                self.check_log_later()
        with self._mutex:
            self._mending = False
        if batch is not None:
            self._context.load.read(0, mended=1)
            self._room.arrive(epoch, batch.last, batch)
        else:
            self._room.combine_elsewhere()

    def _check(self) -> None:
        try:
            self.check_log()
        except LogError:
            self._context.scheduler.after(RETRY, self._check)
            return
        with self._mutex:
            self._checking = False
        self._room.combine_elsewhere()
