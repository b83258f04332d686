"""Reading from the log what a room has missed: what the relay lost, and what was logged though the log seemed to fail.

This module owns what is read from the log for a room: for a member who is behind, on whichever thread serves that one;
for the room itself on worker threads, and what is found enters the room like anything that comes over the relay. It
must never read for a hole that the relay may fill in a moment, nor spin on one that stays.
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
from parlour.wire.records import REDACT

__all__ = ["Repair", "RepairedRoom"]

READ = 1000
"""Messages read from the log at once, at most."""

LATEST = 200
"""Messages of a log that became another one, at most, that are taken for new by their times."""

RETRY = 0.5
"""Seconds before a log that failed, or does not have what it should, is asked again."""


class RepairedRoom(Protocol):
    """A room, as its repair sees it."""

    name: str

    @property
    def epoch(self) -> str:
        """The epoch of what is delivered."""
        ...

    def claims(self) -> tuple[int, int]:
        """Return how far the room is on this node, and how far it is said to be."""
        ...

    def missing(self, offset: int) -> int | None:
        """Return the last offset of the messages that are missing after `offset`, or None if none is any more."""
        ...

    def arrive(
        self, epoch: str, top: int, batch: Batch | None = None, trimmed: int = 0, offset: int = 0, known: int = 0
    ) -> None:
        """Take in what the log has."""
        ...

    def combine_elsewhere(self) -> None:
        """Have a worker do what the room has to do."""
        ...


class Repair:
    """One room's reading of the log."""

    def __init__(self, room: RepairedRoom, context: RoomContext) -> None:
        self._room = room
        self._context = context
        # Guards _mending and _looking. Rank 35.
        self._mutex = make_lock(35, f"repair of {room.name}")
        self._mending = False
        self._looking = False

    @property
    def busy(self) -> bool:
        """Whether something is under way already, so that the room need not ask for it."""
        with self._mutex:
            return self._mending or self._looking

    def record(self, offset: int) -> LastMessage:
        """Return the message at an offset, with an empty id if it is not kept; raises LogError."""
        found = self.message(offset)
        return LastMessage(offset, found.id, found.at) if found is not None else LastMessage(offset)

    def ask(self, join: Join, current: str, modern: bool) -> tuple[Extent, bool]:
        """Return what the log keeps, and whether it has, in another epoch, what a client names; raises LogError.

        Only who is `modern` may name a message. `current` is the room's epoch; the log's may be another.
        """
        kept = self._context.log.extent(self._room.name)
        if kept.epoch != current:
            self.look()
        named = modern and join.id and join.after and join.epoch != kept.epoch
        return kept, bool(named and join.after and self.record(join.after).id == join.id)

    def renewal(self, timeline: Timeline) -> tuple[Extent, LastMessage, bool] | None:
        """Return whence the room has to begin anew, as `Timeline.begin` takes it; None if it need not, or not now."""
        try:
            extent = self._context.log.extent(self._room.name)
            if timeline.fits(extent) and not timeline.false:
                return None
            shared = self._shared(timeline, extent)
            if shared is not None:
                return extent, shared, True
            latest = self._context.log.read(self._room.name, max(extent.trimmed, extent.top - LATEST), LATEST)
            return extent, self.record(timeline.fresh(extent, latest)), False
        except LogError:
            self.look()
            return None

    def _shared(self, timeline: Timeline, extent: Extent) -> LastMessage | None:
        """Return the last message that the log has of those that were delivered here, if it has one; raises LogError.

        A log changes at its end only: where it has one of them, it has those before it.
        """
        last, delivered = timeline.last, timeline.delivered()
        if last.id and extent.trimmed < last.offset <= extent.top and self.record(last.offset).id == last.id:
            return last
        offsets = [offset for offset in delivered if extent.trimmed < offset <= extent.top]
        if not offsets:
            return None
        found = self._context.log.read(self._room.name, min(offsets) - 1, len(offsets))
        same = [message for message in found if delivered.get(message.offset) == message.id]
        return LastMessage(same[-1].offset, same[-1].id, same[-1].at) if same else None

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, None if it is not kept; raises LogError."""
        for found in self._context.log.read(self._room.name, offset - 1, 1) if offset else []:
            if found.offset == offset:
                return found
        return None

    def follow(self, epoch: str, offset: int, current: str, top: int) -> Batch | Extent:
        """Return what the log has after a position, up to where the room stands; raises LogError.

        If there is no going on from there, return what the log keeps.
        """
        batch = self._read(offset, top - offset) if epoch == current else None
        # An epoch that is over does not come again: if it is not over now, what was read is of it.
        extent = self._context.log.extent(self._room.name)
        if extent.epoch == current:
            if batch is not None and batch.first == offset + 1:
                return batch
            if epoch != current or offset < extent.trimmed:
                return extent
        self.look()
        raise LogError(f"the room log lacks messages of {self._room.name} after {offset}")

    def _read(self, after: int, limit: int) -> Batch | None:
        """Return what follows an offset, at most `limit` messages and about as much as the ring holds.

        Raises LogError if the log fails.
        """
        frames: list[bytes] = []
        size = 0
        messages = self._context.log.read(self._room.name, after, min(limit, READ))
        for message in messages:
            frames.append(frame(message))
            size += len(frames[-1])
            if size >= self._context.settings.ring_bytes:
                break
        if not frames:
            return None
        self._context.load.read(len(frames))
        first = messages[0].offset
        deleted = [message.ref for message in messages if message.kind == REDACT]
        return Batch(first, first + len(frames) - 1, b"".join(frames), deleted)

    def mend(self, offset: int) -> None:
        """What follows `offset` is missing: read it, unless the relay brings it first. Takes only its own lock."""
        with self._mutex:
            if self._mending or self._looking:
                return
            self._mending = True
        self._context.scheduler.after(self._context.settings.hole_wait, partial(self._mend, offset))

    def look_now(self) -> None:
        """Ask the log how far it is, now; raises LogError."""
        # What is known is noted before: meanwhile the room may go on.
        offset, known = self._room.claims()
        extent = self._context.log.extent(self._room.name)
        self._room.arrive(extent.epoch, extent.top, trimmed=extent.trimmed, offset=offset, known=known)

    def look(self) -> None:
        """The log may have more than is known, or be another: ask it how far it is, in a while."""
        with self._mutex:
            if self._looking:
                return
            self._looking = True
        self._context.scheduler.after(RETRY, self._look)

    def _mend(self, offset: int) -> None:
        epoch = self._room.epoch
        last = self._room.missing(offset)
        batch = None
        if last is not None:
            try:
                batch = self._read(offset, last - offset)
                if self._context.log.extent(self._room.name).epoch != epoch:
                    batch = None  # what was read may be of another
            except LogError:
                batch = None  # then it is looked at later, as when it lacks what others have seen
            if batch is None or batch.first != offset + 1:
                self.look()
        with self._mutex:
            self._mending = False
        if batch is not None:
            self._context.load.read(0, mended=1)
            self._room.arrive(epoch, batch.last, batch)
        else:
            self._room.combine_elsewhere()

    def _look(self) -> None:
        try:
            self.look_now()
        except LogError:
            self._context.scheduler.after(RETRY, self._look)
            return
        with self._mutex:
            self._looking = False
        self._room.combine_elsewhere()
