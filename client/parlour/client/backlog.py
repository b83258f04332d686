"""The events of one room that the application has not taken yet, bounded, and the position in the room's log.

This module owns the rule that loses nothing although memory is bounded and connections break: it keeps only the record
that follows the last one kept. It lets go of records that would leave a hole or have no room; once the application has
taken all events, the room is joined again behind the last record kept. It is pure: the room calls it under the room's
lock. It must never keep a record twice, nor out of order.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from parlour.client.events import (
    Disconnected,
    Event,
    Lagging,
    Message,
    Presence,
    Reconnected,
    Reconnecting,
    Restarted,
)
from parlour.client.fold import KEPT, Fold
from parlour.wire import messages as wire

__all__ = ["BOUND", "Backlog"]

BOUND = 10_000
"""Events kept for an application that does not take them, unless it asks for another bound."""

_RETRY = 1.0
"""Seconds until the next try to join again, if the node named no time."""


class _Phase(Enum):
    JOINING = "a join is under way: records that come before its answer may belong to a later position"
    LIVE = "records are kept as they come"
    FULL = "records are let go until the application has taken all events"


class Backlog:
    """The events of `room`: at most `bound`, plus the few that tell of the room itself or the connection.

    Attributes:
        fold: the messages by the events that were kept here, taken or not.
    """

    def __init__(self, room: str, bound: int = BOUND, history: int = 0) -> None:
        self._room = room
        self._history = history  # records that a newcomer asks for
        self._bound = bound
        self.fold = Fold(min(bound, KEPT))
        self._events: deque[Event] = deque()
        self._phase = _Phase.JOINING
        self._epoch: str | None = None
        self._last = 0  # offset of the last record kept, or the one behind which records follow
        self._id = ""  # id of the record at `_last` if it is known; it keeps the place in a later epoch
        self._replayed = 0  # records up to this offset were logged before the room was joined
        self._retry_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def epoch(self) -> str | None:
        """The epoch of the records kept; None before the first join is answered."""
        return self._epoch

    def joined(self, joined: wire.Joined) -> None:
        """Handle where the room stands: the answer to a join, or sent unasked when a position is not valid any more."""
        if self._phase is _Phase.FULL:
            return  # To be in the room is enough: the records will be asked for later.
        other = joined.epoch != self._epoch
        if other and joined.recovered and self._epoch is not None:
            if joined.after != self._last:
                # This is about another position, as one of the connections was behind. Joining again tells about ours.
                self._phase = _Phase.FULL
                return
            self._epoch = joined.epoch  # Its log has all records that we have: the position stays.
        # Without recovery other records follow. That is news only if the position changes.
        elif other or (not joined.recovered and joined.after > self._last):
            if self._epoch is not None:
                self._events.append(Restarted(self._room, joined.epoch, joined.after))
                self.fold.clear()
            if other:
                self._replayed = joined.offset
            self._epoch = joined.epoch
            self._last = joined.after
            self._id = joined.id
        # The answer to another join, with a later position, is not the answer that is awaited.
        if self._phase is _Phase.JOINING and joined.after <= self._last:
            self._phase = _Phase.LIVE

    def record(self, message: wire.Message, epoch: str | None, session: str = "") -> Message:
        """Return a record of this epoch as this session sees it; keep its event if it is the next record."""
        record = Message.of(message, message.offset <= self._replayed, session)
        if epoch is not None and epoch == self._epoch and message.offset > self._last:
            whole = message.offset == self._last + 1
            if whole and self._phase is not _Phase.FULL and len(self._events) < self._bound:
                self._events.append(self.fold.add(record))
                self._last, self._id = message.offset, message.id
            elif whole or self._phase is _Phase.LIVE:
                self._phase = _Phase.FULL
        return record

    def offer(self, event: Presence | Lagging) -> bool:
        """Keep an event that may also come later; return whether there was room for it."""
        if self._phase is _Phase.LIVE and len(self._events) >= self._bound:
            self._phase = _Phase.FULL
        if self._phase is not _Phase.LIVE:
            return False
        self._events.append(event)
        return True

    def add(self, event: Reconnecting | Reconnected | Disconnected) -> None:
        """Keep an event about the connection, whatever the bound; of several losses in a row keep the first."""
        if isinstance(event, Reconnecting) and self._events:
            if isinstance(self._events[-1], Reconnecting):
                return
            if isinstance(self._events[-1], Reconnected):
                self._events.pop()
                if self._events and isinstance(self._events[-1], Reconnecting):
                    return
        self._events.append(event)

    def take(self) -> Event | None:
        """Return the oldest event, or None if there is none."""
        return self._events.popleft() if self._events else None

    def resume(self) -> wire.Join:
        """Return the join behind the last record kept; the caller must send it.

        While records are let go, the join asks for none: to be in the room is enough.
        """
        if self._phase is _Phase.FULL:
            return wire.Join(self._room)
        self._phase = _Phase.JOINING
        if self._epoch is None:
            return wire.Join(self._room, self._history)
        return wire.Join(self._room, self._history, self._last, self._epoch, self._id or None)

    def rejoin(self, now: float) -> bool:
        """Return whether to join again, since records were let go and the application has taken all events.

        If so, the caller must send the join that `resume` returns. `now` is monotonic, in seconds.
        """
        if self._phase is not _Phase.FULL or self._events or now < self._retry_at:
            return False
        self._phase = _Phase.JOINING
        return True

    def refused(self, now: float, retry_after: float | None) -> bool:
        """Handle that a join was refused; return whether it was a rejoin, which will be tried again."""
        if self._phase is not _Phase.JOINING or self._epoch is None:
            return False
        self._phase = _Phase.FULL
        self._retry_at = now + (_RETRY if retry_after is None else retry_after)
        return True

    def wait(self, now: float) -> float | None:
        """Return the seconds until a rejoin is due, or None if none is."""
        return max(0.0, self._retry_at - now) if self._phase is _Phase.FULL and not self._events else None
