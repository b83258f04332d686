"""A person's, or a bot's, presence in the cluster: one session, its posts under way, and its rooms.

This module owns the table of rooms and the posts that wait for their acknowledgement. Any thread may call the public
half; the reader thread of the connection calls `_handle` and `_lost`. It must never hold a lock while a future is
resolved or the socket written, the posting lock apart, which only posting threads take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from parlour.client.backlog import BOUND
from parlour.client.connection import Connection
from parlour.client.entrance import enter
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Message
from parlour.client.room import Room
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError
from parlour.wire.limits import check_name, check_room

__all__ = ["MAX_PENDING", "Chat", "connect"]

MAX_PENDING = 1000
"""Posts of one chat that may wait for their acknowledgement at a time."""


class _Pending(NamedTuple):
    say: wire.Say
    future: Future[Message]


class Chat:
    """A connection to the cluster under a name; made by `connect`, closed by `close` or at the end of a `with`.

    Attributes:
        name: the name, in NFC.
        node: the node that this chat is connected to, and `address` its HOST:PORT.
        session: the session that its posts are counted in; a message of one's own has the id `SESSION-N`.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.node = connection.welcome.node
        self.address = connection.address
        self.session = connection.welcome.session
        self._connection = connection
        # Guards _last_id and that posts are sent in the order of their ids: it is held while one is sent. Rank 10.
        self._posting = make_lock(10, "posting")
        self._last_id = 0
        # Guards _rooms, _pending and _end. Rank 20.
        self._lock = make_lock(20, "chat")
        self._changed = threading.Condition(self._lock)
        self._rooms: dict[str, Room] = {}
        self._pending: dict[int, _Pending] = {}
        self._end: str | None = None  # why nothing can be asked any more
        connection.start(f"{name}-reader", self._handle, self._lost)

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def rooms(self) -> list[Room]:
        """The rooms that this chat is in, in the order of joining."""
        with self._lock:
            return list(self._rooms.values())

    def join(self, room: str, history: int = 0, timeout: float = 10.0, backlog: int = BOUND) -> Room:
        """Join a room and return it when the node has said who is there; its events begin with `history` old messages.

        At most `backlog` events are kept until they are taken; the others are fetched from the log again. A room that
        one is in is returned as it is. Raises UsageError if the name is none, NodeError if the node refuses,
        DisconnectedError if the connection is lost, DeadlineError after `timeout` seconds.
        """
        name = check_room(room)
        join = wire.Join(name, history)
        with self._lock:
            self._check_open()
            present = self._rooms.get(name)
            joining = present or self._rooms.setdefault(name, Room(self, name, backlog))
        try:
            if present is None:
                self.request(join)
            joining.entered(timeout)
        except BaseException:
            if present is None:
                self._forget(name)
            raise
        return joining

    def leave(self, room: str, timeout: float = 10.0) -> None:
        """Leave a room; nothing happens if one is not in it. Raises as `join` does."""
        with self._lock:
            present = self._rooms.get(check_room(room))
        if present is not None:
            present.leave(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Close the connection within `timeout` seconds; posts not acknowledged fail. Harmless if done before."""
        try:
            self._connection.close(timeout)
        finally:
            self._finish("the chat was closed", None)

    # --- for rooms --------------------------------------------------------------------------------------------

    def request(self, message: wire.ClientMessage) -> None:
        """Send a message of the protocol; raises DisconnectedError if there is no connection."""
        with self._lock:
            self._check_open()
        self._connection.send(message)

    def post(self, room: str, text: str, timeout: float) -> Future[Message]:
        """Post a text to a room that this chat is in; see `Room.post`."""
        deadline = time.monotonic() + timeout
        full = DeadlineError(f"{MAX_PENDING} posts wait for their acknowledgement already: try again later")
        future: Future[Message] = Future()
        future.set_running_or_notify_cancel()  # What is on its way cannot be cancelled.
        if not self._posting.acquire(timeout=max(0.0, timeout)):
            raise full
        try:
            say = wire.Say(room, self._last_id + 1, text)
            with self._changed:
                if not self._changed.wait_for(self._can_post, max(0.0, deadline - time.monotonic())):
                    raise full
                self._check_open()
                self._pending[say.id] = _Pending(say, future)
            self._last_id = say.id
            try:
                self._connection.send(say)
            except ParlourError:
                self._settle(say.id)
                raise
        finally:
            self._posting.release()
        return future

    def _can_post(self) -> bool:
        return len(self._pending) < MAX_PENDING or self._end is not None

    def _check_open(self) -> None:
        if self._end is not None:
            raise DisconnectedError(self._end)

    # --- for the reader thread --------------------------------------------------------------------------------

    def _handle(self, message: wire.NodeMessage) -> None:
        if isinstance(message, wire.Message):
            room = self._room(message.room)
            if room is not None:
                event = room.on_message(message)
                session, _, number = message.id.rpartition("-")
                if session == self.session and number.isdecimal():
                    self._acknowledge(int(number), event)
        elif isinstance(message, wire.Accepted):
            self._accepted(message)
        elif isinstance(message, wire.Error):
            self._failed(message)
        elif isinstance(message, wire.Lagging):
            for room in self.rooms:
                room.on_lagging()
        elif isinstance(message, wire.Left):
            self._left(message.room)
        elif isinstance(message, wire.Joined | wire.Members | wire.Presence):
            room = self._room(message.room)
            if room is None:
                return  # One that the application gave up joining.
            if isinstance(message, wire.Joined):
                room.on_joined(message)
            elif isinstance(message, wire.Members):
                room.on_members(message)
            else:
                room.on_presence(message)

    def _room(self, name: str) -> Room | None:
        with self._lock:
            return self._rooms.get(name)

    def _forget(self, name: str) -> Room | None:
        with self._lock:
            return self._rooms.pop(name, None)

    def _settle(self, number: int) -> _Pending | None:
        """Take a post from those that wait; None if it does not wait (any more)."""
        with self._changed:
            pending = self._pending.pop(number, None)
            self._changed.notify_all()
        return pending

    def _acknowledge(self, number: int, event: Message) -> None:
        pending = self._settle(number)
        if pending is not None:
            pending.future.set_result(event)

    def _accepted(self, accepted: wire.Accepted) -> None:
        pending = self._settle(accepted.id)
        if pending is not None:
            own = f"{self.session}-{accepted.id}"
            text = pending.say.text
            pending.future.set_result(
                Message(accepted.room, accepted.offset, own, self.name, accepted.at, text, replay=False)
            )

    def _failed(self, error: wire.Error) -> None:
        if error.id is not None:
            pending = self._settle(error.id)
            if pending is not None:
                pending.future.set_exception(NodeError(error.text, error.code, error.retry_after))
        elif error.room is not None:
            room = self._room(error.room)
            if room is not None:
                room.on_error(error)

    def _left(self, name: str) -> None:
        room = self._forget(name)
        with self._changed:
            # Their messages go past without us: whether they were logged will not be known.
            orphans = [number for number, pending in self._pending.items() if pending.say.room == name]
        for number in orphans:
            pending = self._settle(number)
            if pending is not None:
                pending.future.set_exception(DisconnectedError(f"{name} was left before this was acknowledged"))
        if room is not None:
            room.on_left()

    def _lost(self, reason: str) -> None:
        self._finish(reason, reason)

    def _finish(self, end: str, reason: str | None) -> None:
        """Nothing comes any more: fail what waits, tell the rooms; only the first end counts."""
        with self._changed:
            if self._end is not None:
                return
            self._end = end
            pending, self._pending = list(self._pending.values()), {}
            rooms, self._rooms = list(self._rooms.values()), {}
            self._changed.notify_all()
        for post in pending:
            post.future.set_exception(DisconnectedError(f"{end}: this may have been logged"))
        for room in rooms:
            room.on_end(reason)


def connect(brokers: str | Sequence[str], name: str, *, room: str | None = None, timeout: float = 10.0) -> Chat:
    """Connect to the cluster of these brokers (HOST:PORT, one or several) and return the open chat.

    `room` tells the broker which room is meant to be joined. Gives up after `timeout` seconds. Raises UsageError for
    a name or address that is none, UnavailableError if no broker answers, RefusedError (of `parlour.runtime.asking`)
    or NodeError if there is no place, DeadlineError if no node could be reached in time.
    """
    name = check_name(name)
    known = [brokers] if isinstance(brokers, str) else list(brokers)
    return Chat(name, enter(known, name, None if room is None else check_room(room), timeout))
