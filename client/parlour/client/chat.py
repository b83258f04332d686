"""A person's, or a bot's, presence in the cluster: one session and its rooms, whatever becomes of connections.

This module owns the table of rooms. Any thread may call the public half; the reader threads of connections call
`handle`, the keeper's thread the rest. It must never hold a lock while a future is resolved or something is sent.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from parlour.client.backlog import BOUND
from parlour.client.connection import Connection
from parlour.client.entrance import enter
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Message
from parlour.client.keeper import Keeper
from parlour.client.link import Link
from parlour.client.outbox import Outbox
from parlour.client.patience import wait_until
from parlour.client.room import Room
from parlour.runtime.forks import ProcessBound
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_QUESTIONS, PROTOCOL, check_name, check_room
from parlour.wire.records import post_fault

__all__ = ["Chat", "connect"]


class Chat(ProcessBound):
    """A presence in the cluster under a name; made by `connect`, closed by `close` or at the end of a `with`.

    A connection that is lost is found again, at whichever node, and one moves to another node when asked to: rooms,
    posts and the session go on. It works in the process that made it alone: in a child of a fork every call raises
    UsageError, and `close` leaves the parent's connection alone.

    Attributes:
        name: the name, in NFC.
        session: the session that its posts are counted in; a message of one's own has the id `SESSION-N`.
        node: the node that this chat is connected to, or was last, and `address` its HOST:PORT.
        outbox: the posts that are not acknowledged.
    """

    kind = "chat"
    advice = "connect in this process"

    def __init__(
        self, hello: wire.Hello, connection: Connection, brokers: Sequence[str], give_up: float | None = None
    ) -> None:
        self.name = hello.name
        self._observer = hello.observer
        self.session = connection.welcome.session
        self.node = connection.welcome.node
        self.address = connection.address
        # Guards _rooms, _end and _asking. Rank 25.
        self._lock = make_lock(25, "chat")
        self._answered = threading.Condition(self._lock)
        self._asking = 0  # pages of history that are asked for now
        self._rooms: dict[str, Room] = {}
        self._end: str | None = None  # why nothing can be asked any more
        self._keeper = Keeper(self, brokers, hello, give_up)
        self.outbox = Outbox(self._keeper.wake, self._await_room)
        self._keeper.start(connection)

    def __enter__(self) -> Chat:
        self.check_process()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a node now."""
        self.check_process()
        return self._keeper.current is not None and self._end is None

    @property
    def rooms(self) -> list[Room]:
        """The rooms that this chat is in, in the order of joining."""
        self.check_process()
        with self._lock:
            return list(self._rooms.values())

    def join(self, room: str, history: int = 0, timeout: float = 10.0, backlog: int = BOUND) -> Room:
        """Join a room and return it when the node has said who is there; its events begin with `history` old messages.

        At most `backlog` events are kept until they are taken; the others are fetched from the log again. A room that
        one is in is returned as it is; one that is being left is waited for, and joined anew. Raises UsageError if the
        name is none, or `backlog` below 1, NodeError if the node refuses, DisconnectedError if the chat is at its end,
        DeadlineError after `timeout` seconds.
        """
        self.check_process()
        name = check_room(room)
        if backlog < 1:
            raise UsageError("backlog: it takes at least 1 event")
        deadline = time.monotonic() + timeout
        new = Room(self, name, backlog, wire.Join(name, history).history)
        while True:
            with self._lock:
                self._check_open()
                joining = self._rooms.setdefault(name, new)
                if not joining.parting:
                    joining.wanted += 1
                    break
            joining.gone(max(0.0, deadline - time.monotonic()))
        try:
            if joining is new:
                self._keeper.tell(partial(self._keeper.enter, new))
            joining.entered(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._give_up(joining)
            raise
        return joining

    def leave(self, room: str, timeout: float = 10.0) -> None:
        """Leave a room; nothing happens if one is not in it. Raises as `join` does."""
        present = self.room(check_room(room))
        if present is not None:
            present.leave(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """End it within `timeout` s; posts not acknowledged fail. Harmless if done before, or in a child of a fork."""
        if self.inherited:
            return
        self._finish("the chat was closed", None)
        self._keeper.close(timeout)

    # --- for rooms --------------------------------------------------------------------------------------------

    def request(self, message: wire.ClientMessage) -> bool:
        """Send a message of the protocol; return False if there is no connection now."""
        link = self._keeper.current
        if link is None:
            return False
        link.send(message)
        return True

    def rejoin(self, room: Room) -> None:
        """Have what was let go of a room's messages fetched from the log."""
        self._keeper.tell(partial(self._keeper.enter, room))

    def post(
        self, room: str, text: str, timeout: float, kind: str, ref: int, data: Mapping[str, Any]
    ) -> Future[Message]:
        """Post a record to a room that this chat is in; see `Room.post`."""
        self.check_process()
        if self._observer:
            raise UsageError("an observer only listens: connect without observer=True to speak")
        if (fault := post_fault(kind, ref, text)) != "":
            raise UsageError(fault)
        return self.outbox.post(room, text, timeout, kind, ref, data)

    def trouble(self, room: str) -> str | None:
        """Return why the posts to a room wait; see `Room.trouble`."""
        return self.outbox.trouble(room)

    def _await_room(self, deadline: float) -> bool:
        self.check_process()
        link = self._keeper.current
        return link is None or link.connection.await_room(deadline)

    def _check_open(self) -> None:
        if self._end is not None:
            raise DisconnectedError(self._end)

    # --- for the keeper and the reader threads ----------------------------------------------------------------

    def handle(self, link: Link, message: wire.NodeMessage) -> None:
        """Take in what came on a connection; called by its reader thread."""
        if isinstance(message, wire.Message):
            room = self.room(message.room)
            if room is not None:
                event = room.on_message(message, link.epochs.get(message.room))
                session, _, number = message.id.rpartition("-")
                if session == self.session and number.isdecimal():
                    self.outbox.acknowledge(int(number), event)
        elif isinstance(message, wire.Accepted):
            self.outbox.accepted(message, self.session, self.name)
        elif isinstance(message, wire.Error):
            self._failed(link, message)
        elif isinstance(message, wire.Lagging):
            for room in self.rooms:
                room.on_lagging()
        elif isinstance(message, wire.Left):
            link.epochs.pop(message.room, None)
            self._keeper.tell(partial(self._keeper.left, link, message.room))
            self.left(message.room)
        elif isinstance(message, wire.Move):
            self._keeper.tell(partial(self._keeper.move, link, message))
        elif isinstance(message, wire.Joined):
            link.epochs[message.room] = message.epoch
            room = self.room(message.room)
            if room is not None:
                room.on_joined(message, link)
            self._keeper.tell(partial(self._keeper.joined, link, message.room))
        elif isinstance(message, wire.Members | wire.Presence | wire.Page):
            room = self.room(message.room)
            if room is None:
                return  # One that the application gave up joining.
            if isinstance(message, wire.Page):
                room.on_page(message)
            elif isinstance(message, wire.Members):
                room.on_members(message, link)
            else:
                room.on_presence(message, link)

    @contextmanager
    def one_of_few(self, deadline: float) -> Iterator[None]:
        """Wait until a page of history may be asked for, as a node answers so many at a time; raises DeadlineError."""
        self.check_process()
        with self._answered:
            if not wait_until(self._answered, lambda: self._asking < MAX_QUESTIONS, deadline):
                raise DeadlineError("too many pages of history are asked for at the same time: wait for some")
            self._asking += 1
        try:
            yield
        finally:
            with self._answered:
                self._asking -= 1
                self._answered.notify()

    def room(self, name: str) -> Room | None:
        """Return the room of this name that this chat is in, or is about to be."""
        self.check_process()
        with self._lock:
            return self._rooms.get(name)

    def left(self, name: str) -> None:
        """The room that one was leaving is left."""
        room = self.room(name)
        # One that was joined again meanwhile stays.
        if room is not None and room.parting:
            self._forget(room)
            self.outbox.forget(name, DisconnectedError(f"{name} was left before this was acknowledged"))
            room.on_left()

    def drop(self, room: Room, reason: str) -> None:
        """No node lets one into this room any more."""
        self._forget(room)
        self.outbox.forget(room.name, DisconnectedError(reason))
        room.on_end(reason)

    def end(self, reason: str) -> None:
        """The connection is lost for good."""
        self._finish(reason, reason)

    def expire(self) -> None:
        """Fail the posts whose time is over, without waiting for the keeper to do so."""
        self.outbox.expire()

    def _forget(self, room: Room) -> None:
        with self._lock:
            # Another of the same name may have been joined meanwhile.
            if self._rooms.get(room.name) is room:
                del self._rooms[room.name]

    def _give_up(self, room: Room) -> None:
        """One who joined a room does not wait any longer; others may still do so, or be in it."""
        with self._lock:
            room.wanted -= 1
            given_up = not room.wanted and self._rooms.get(room.name) is room
            if given_up:
                del self._rooms[room.name]
        if given_up:
            self._keeper.tell(partial(self._keeper.abandon, room.name))

    def _failed(self, link: Link, error: wire.Error) -> None:
        if error.id is not None:
            self.outbox.refused(error.id, NodeError(error.text, error.code, error.retry_after))
        elif error.room is not None:
            room = self.room(error.room)
            if room is not None:
                if error.retry_after is not None:
                    self.outbox.not_opened(error.room, error.text)
                self._keeper.tell(partial(self._keeper.not_joined, link, room, error))

    def _finish(self, end: str, reason: str | None) -> None:
        """Nothing comes any more: fail what waits, tell the rooms; only the first end counts."""
        with self._lock:
            if self._end is not None:
                return
            self._end = end
            rooms, self._rooms = list(self._rooms.values()), {}
        self.outbox.end(end)
        for room in rooms:
            room.on_end(reason)


def connect(
    brokers: str | Sequence[str],
    name: str,
    *,
    room: str | None = None,
    timeout: float = 10.0,
    give_up: float | None = None,
    observer: bool = False,
    bot: bool = False,
) -> Chat:
    """Connect to the cluster of these brokers (HOST:PORT, one or several) and return the open chat.

    An `observer` hears all, is seen by nobody, and cannot say anything; a `bot` is shown to others as a program.
    `room` tells the broker which room is meant to be joined. Gives up after `timeout` seconds. A connection that is
    lost later is looked for again for as long as the program runs, or at most `give_up` seconds. Raises UsageError for
    a name or address that is none, UnavailableError if no broker answers, RefusedError (of
    `parlour.runtime.broker_rpc`) or NodeError if there is no place, DeadlineError if no node could be reached in time.
    """
    name = check_name(name)
    known = [brokers] if isinstance(brokers, str) else list(brokers)
    # Whoever shows the key goes on with the session: it is told to nodes alone.
    hello = wire.Hello(name, "", PROTOCOL, secrets.token_urlsafe(32), observer, bot)
    connection = enter(known, hello, None if room is None else check_room(room), timeout)
    try:
        return Chat(hello, connection, known, give_up)
    except BaseException:  # the system has no thread for it
        connection.close()
        raise
