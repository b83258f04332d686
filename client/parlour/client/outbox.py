"""The posts of a chat without an acknowledgement: kept, sent in order, and sent again after a connection was lost.

This module owns the ids of posts, their deadlines and their futures. Any thread may post; the reconnector's thread
opens rooms on a connection and lets posts expire; reader threads hand in the answers. It must never hold a lock while
it resolves a future, nor another lock than the posting lock while it sends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Message
from parlour.client.waiting import wait_until
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError
from parlour.wire.limits import WINDOW, check_text
from parlour.wire.records import SAID

__all__ = ["MAX_PENDING", "Outbox", "Send"]

_NO_DATA: Mapping[str, Any] = {}

MAX_PENDING = 1000
"""Most posts of one chat that may wait for their acknowledgements."""

Send = Callable[[wire.Say], NodeError | None]
"""Sends a post, or returns an error because the node at the other end cannot understand that post."""


@dataclass(eq=False)
class _Pending:
    say: wire.Say
    future: Future[Message]
    timeout: float
    deadline: float  # monotonic, in seconds
    sent: bool = False  # on the current connection, and not refused
    doubtful: bool = False  # sent on a connection that was lost: it may have been logged
    refusal: NodeError | None = None

    def expired(self, trouble: str | None) -> ParlourError:
        """Return the error of a post whose time is over; `trouble` is the reason why the room's posts wait."""
        if not self.sent and not self.doubtful:
            if self.refusal is not None:
                return self.refusal
            why = f": {trouble}" if trouble else ""
            return DeadlineError(f"it could not be sent within {self.timeout:g} s{why}")
        return DeadlineError(f"no acknowledgement within {self.timeout:g} s: it may have been logged")


class Outbox:
    """The posts of one chat.

    The outbox calls `on_due` when something is due earlier than `due` returned last. `await_room` waits until the node
    has taken most of what it was sent, or until a time in monotonic seconds, and returns whether the node has.
    """

    def __init__(self, on_due: Callable[[], None], await_room: Callable[[float], bool]) -> None:
        self._on_due = on_due
        self._await_room = await_room
        # Guards the order of sending: it is held while posts are sent, by rising ids. Rank 10.
        self._posting = make_lock(10, "posting")
        # Guards all fields below. Rank 20.
        self._lock = make_lock(20, "outbox")
        self._changed = threading.Condition(self._lock)
        self._last_id = 0
        self._reserved = 0  # places taken by posts that have no id yet
        self._pending: dict[int, _Pending] = {}
        self._open: dict[str, Send] = {}  # rooms whose posts may be sent now, and how
        self._held: dict[str, float] = {}  # rooms whose posts were refused, and until when they wait
        self._slowed_until = 0.0  # when the node takes posts again, in monotonic seconds, if it has told to slow down
        self._troubles: dict[str, str] = {}  # why the last posts of rooms could not be logged
        self._lost: str | None = None  # why there is no connection
        self._watched = 0.0
        self._end: str | None = None

    # --- for the application's threads ------------------------------------------------------------------------

    def post(
        self, room: str, text: str, timeout: float, kind: str = SAID, ref: int = 0, data: Mapping[str, Any] = _NO_DATA
    ) -> Future[Message]:
        """Post a record to a room; see `Room.post`."""
        draft = wire.Say(room, 1, check_text(text), kind, ref, dict(data))
        now = time.monotonic()
        future: Future[Message] = Future()
        future.set_running_or_notify_cancel()  # A post on its way cannot be cancelled.
        # Posts that have expired are not counted any more, but may still be on their way to a node that reads nothing.
        if not self._await_room(now + timeout):
            raise DeadlineError(f"earlier posts could not be sent within {timeout:g} s: try again later")
        with self._changed:
            if not wait_until(self._changed, self._has_place, now + timeout):
                raise DeadlineError(f"{self._fullness()}: try again later")
            self._check_open()
            self._reserved += 1
        try:
            with self._posting:
                number, error = self._send_or_keep(draft, future, timeout, now + timeout)
        finally:
            with self._changed:
                self._reserved -= 1
                self._changed.notify_all()
        if error is not None:
            self._fail_unsent([(number, error)])
        return future

    def trouble(self, room: str) -> str | None:
        """Return the reason why posts to a room wait; None if none waits or nothing is known to be wrong."""
        with self._lock:
            if not any(each.say.room == room for each in self._pending.values()):
                return None
            return self._lost or self._troubles.get(room)

    def _send_or_keep(
        self, draft: wire.Say, future: Future[Message], timeout: float, deadline: float
    ) -> tuple[int, NodeError | None]:
        """Give the post its id, and send it if its room is open; the caller holds the posting lock.

        Returns the id, and an error if the node cannot understand the post.
        """
        with self._lock:
            self._check_open()
            deadline = max(deadline, self._slowed_until + timeout)
            pending = _Pending(replace(draft, id=self._last_id + 1), future, timeout, deadline)
            self._last_id += 1
            self._pending[self._last_id] = pending
            send = self._open.get(draft.room)
            pending.sent = send is not None
            hurry = deadline < self._watched
        if hurry:
            self._on_due()
        return pending.say.id, None if send is None else send(pending.say)

    def _has_place(self) -> bool:
        if self._end is not None:
            return True
        # A node refuses an id that is far below others. Posts of one room may wait long while other rooms' are logged.
        oldest = next(iter(self._pending), self._last_id)
        spread = self._last_id + self._reserved - oldest
        return len(self._pending) + self._reserved < MAX_PENDING and spread < WINDOW - 1

    def _fullness(self) -> str:
        if len(self._pending) + self._reserved >= MAX_PENDING:
            return f"{MAX_PENDING} posts wait for their acknowledgements already"
        oldest = next(iter(self._pending.values())).say
        return f"a post to {oldest.room} waits for its acknowledgement, and {WINDOW} were made since"

    def _check_open(self) -> None:
        if self._end is not None:
            raise DisconnectedError(self._end)

    # --- for the reconnector's thread ------------------------------------------------------------------------------

    def open(self, room: str, send: Send) -> None:
        """Send the posts that wait in a room, in order, and from now on every new post there."""
        unsent: list[tuple[int, NodeError]] = []
        with self._posting:
            with self._lock:
                self._held.pop(room, None)
                waiting = [each for each in self._pending.values() if each.say.room == room and not each.sent]
                for each in waiting:
                    each.sent = True
                self._open[room] = send
            for each in waiting:
                if (error := send(each.say)) is not None:
                    unsent.append((each.say.id, error))
        self._fail_unsent(unsent)

    def detach(self, lost: str | None = None) -> None:
        """Note that the connection is gone: posts without an acknowledgement wait until their room is opened again.

        `lost` is the reason; None if there is another connection already.
        """
        with self._lock:
            self._lost = lost
            self._open.clear()
            self._held.clear()
            for each in self._pending.values():
                each.doubtful = each.doubtful or each.sent
                each.sent = False

    def expire(self, given_up: Future[Message] | None = None) -> None:
        """Fail the posts whose time is over, and the one of this future."""
        now = time.monotonic()
        with self._changed:
            expired = [
                number for number, each in self._pending.items() if each.deadline <= now or each.future is given_up
            ]
            over = [self._pending.pop(number) for number in expired]
            errors = [each.expired(self._lost or self._troubles.get(each.say.room)) for each in over]
            self._changed.notify_all()
        for each, error in zip(over, errors, strict=True):
            each.future.set_exception(error)

    def ready(self) -> list[str]:
        """Return the rooms whose refused posts have waited long enough."""
        now = time.monotonic()
        with self._lock:
            return [room for room, due in self._held.items() if due <= now]

    def due(self) -> float:
        """Return when `expire` or `ready` has work next, in monotonic seconds; infinite if no post waits."""
        with self._lock:
            deadlines = (each.deadline for each in self._pending.values())
            self._watched = min((*deadlines, *self._held.values()), default=float("inf"))
            return self._watched

    # --- for reader threads -----------------------------------------------------------------------------------

    def acknowledge(self, number: int, message: Message) -> None:
        """Resolve the post of this id: it is logged."""
        pending = self._settle(number)
        if pending is not None:
            pending.future.set_result(message)

    def accepted(self, accepted: wire.Accepted, session: str, name: str) -> None:
        """Resolve a post that was sent again and is logged already."""
        pending = self._settle(accepted.id)
        if pending is not None:
            own, say = f"{session}-{accepted.id}", pending.say
            logged = wire.Message(
                accepted.room, accepted.offset, own, name, accepted.at, say.text, say.kind, say.ref, data=say.data
            )
            pending.future.set_result(Message.of(logged, False, session))

    def refused(self, number: int, error: NodeError) -> None:
        """Handle that the node did not log a post: it fails, or waits if the node says when to try again."""
        if error.retry_after is None:
            pending = self._settle(number)
            if pending is not None:
                pending.future.set_exception(error)
            return
        with self._lock:
            waiting = self._pending.get(number)
            if waiting is None or not waiting.sent:
                return
            again = time.monotonic() + error.retry_after
            waiting.sent, waiting.refusal = False, error
            # Later posts to this room wait behind it, so that the order stays.
            self._hold(waiting.say.room, again)
            self._troubles[waiting.say.room] = str(error)
            if error.code == "slow_down":
                # That is about all rooms. The posts' own times begin anew at the time that the node names.
                self._slowed_until = max(self._slowed_until, again)
                for room in list(self._open):
                    self._hold(room, again)
                for each in self._pending.values():
                    each.deadline = max(each.deadline, self._slowed_until + each.timeout)
        self._on_due()

    def _hold(self, room: str, until: float) -> None:
        """Let the posts to a room wait until then, in monotonic seconds; the caller holds the lock."""
        self._open.pop(room, None)
        self._held[room] = until

    def not_opened(self, room: str, reason: str) -> None:
        """Note why a node does not let the chat into a room now, which it joins again after the connection was lost."""
        with self._lock:
            if room not in self._open:
                self._troubles[room] = reason

    def forget(self, room: str, error: ParlourError) -> None:
        """Fail the posts of a room that was left: their acknowledgements will not come."""
        with self._changed:
            self._troubles.pop(room, None)
            self._open.pop(room, None)
            self._held.pop(room, None)
            orphans = [number for number, each in self._pending.items() if each.say.room == room]
            lost = [self._pending.pop(number) for number in orphans]
            self._changed.notify_all()
        _fail(lost, error)

    def end(self, reason: str) -> None:
        """Refuse further posts, and fail those that wait."""
        with self._changed:
            self._end = reason
            lost, self._pending = list(self._pending.values()), {}
            self._open.clear()
            self._held.clear()
            self._changed.notify_all()
        _fail(lost, DisconnectedError(f"{reason}: this may have been logged"))

    def _fail_unsent(self, posts: Iterable[tuple[int, NodeError]]) -> None:
        """Fail posts that the node cannot understand; the caller holds no lock."""
        for number, error in posts:
            pending = self._settle(number)
            if pending is not None:
                doubt = DeadlineError(f"{error}; it may have been logged before the connection was lost")
                pending.future.set_exception(doubt if pending.doubtful else error)

    def _settle(self, number: int) -> _Pending | None:
        """Remove a post from those that wait and return it; None if it does not wait."""
        with self._changed:
            pending = self._pending.pop(number, None)
            if pending is not None:
                self._troubles.pop(pending.say.room, None)
            self._changed.notify_all()
        return pending


def _fail(posts: Iterable[_Pending], error: ParlourError) -> None:
    for each in posts:
        each.future.set_exception(error)
