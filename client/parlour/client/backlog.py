"""The events of one room that the application has not taken yet, bounded, and the position in the room's log.

This module owns the rule by which nothing is lost though memory is bounded and connections break: the next record
kept is the one that follows the last. Where others would leave a hole, or find no place, they are let go, and once the
application has taken what was kept the room is joined again behind it. It is pure: its room calls it under the room's
lock. It must never hold a record twice, nor one out of order.
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
"""Events kept for an application that does not take them."""

_RETRY = 1.0
"""Seconds until joining again is tried once more, where the node named no time."""


class _Phase(Enum):
    JOINING = "a join is under way: what comes before its answer may be of a position further on"
    LIVE = "messages are kept as they come"
    FULL = "messages are let go until the application has taken what was kept"


class Backlog:
    """The events of `room`, at most `bound` and the few that say what befell the room or the connection.

    Attributes:
        fold: the messages whose events were made here, as they are now; some may not be taken yet.
    """

    def __init__(self, room: str, bound: int = BOUND, history: int = 0) -> None:
        self._room = room
        self._history = history  # messages that a newcomer asks for
        self._bound = bound
        self.fold = Fold(min(bound, KEPT))
        self._events: deque[Event] = deque()
        self._phase = _Phase.JOINING
        self._epoch: str | None = None
        self._last = 0  # offset of the last message kept, or behind which messages follow
        self._id = ""  # of the message at `_last`, if it is known: it keeps the place in a later epoch
        self._replayed = 0  # messages up to this offset were said before the room was joined
        self._retry_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def epoch(self) -> str | None:
        """The epoch of what is kept; None before the first join is answered."""
        return self._epoch

    def joined(self, joined: wire.Joined) -> None:
        """The node says where the room stands: as the answer to a join, or unasked when one cannot go on from there."""
        if self._phase is _Phase.FULL:
            return  # Being in the room is enough: what is kept of it from here on will be asked for.
        other = joined.epoch != self._epoch
        if other and joined.recovered and self._epoch is not None:
            if joined.after != self._last:
                # Told for another place than ours: one of the connections was behind. Joining again tells of ours.
                self._phase = _Phase.FULL
                return
            self._epoch = joined.epoch  # whose log has all that we have: the place stays
        # Without recovery something else follows: that is news only if what we have is not of the same kind.
        elif other or (not joined.recovered and joined.after > self._last):
            if self._epoch is not None:
                self._events.append(Restarted(self._room, joined.epoch, joined.after))
                self.fold.clear()
            if other:
                self._replayed = joined.offset
            self._epoch = joined.epoch
            self._last = joined.after
            self._id = joined.id
        # The answer to another join, further on, is not the one that is waited for.
        if self._phase is _Phase.JOINING and joined.after <= self._last:
            self._phase = _Phase.LIVE

    def message(self, message: wire.Message, epoch: str | None, session: str = "") -> Message:
        """Return the record, of this epoch, as this session sees it; what it tells is kept if it is the next one."""
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
        """Keep an event that may be missed; return whether there was room for it."""
        if self._phase is _Phase.LIVE and len(self._events) >= self._bound:
            self._phase = _Phase.FULL
        if self._phase is not _Phase.LIVE:
            return False
        self._events.append(event)
        return True

    def add(self, event: Reconnecting | Reconnected | Disconnected) -> None:
        """Keep an event about the connection, whatever the bound; of several losses in a row only the first."""
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
        """Return the join behind the last message kept; the caller must send it.

        While messages are let go they are not asked for: being in the room is enough.
        """
        if self._phase is _Phase.FULL:
            return wire.Join(self._room)
        self._phase = _Phase.JOINING
        if self._epoch is None:
            return wire.Join(self._room, self._history)
        return wire.Join(self._room, self._history, self._last, self._epoch, self._id or None)

    def rejoin(self, now: float) -> bool:
        """Whether to join again, as messages were let go and all that was kept has been taken.

        The caller must have the join that `resume` gives sent then. `now` is monotonic, in seconds.
        """
        if self._phase is not _Phase.FULL or self._events or now < self._retry_at:
            return False
        self._phase = _Phase.JOINING
        return True

    def refused(self, now: float, retry_after: float | None) -> bool:
        """A join of ours was refused; return whether it was a rejoin, which will be tried again."""
        if self._phase is not _Phase.JOINING or self._epoch is None:
            return False
        self._phase = _Phase.FULL
        self._retry_at = now + (_RETRY if retry_after is None else retry_after)
        return True

    def wait(self, now: float) -> float | None:
        """Return the seconds until a rejoin is due, or None if none is."""
        return max(0.0, self._retry_at - now) if self._phase is _Phase.FULL and not self._events else None
