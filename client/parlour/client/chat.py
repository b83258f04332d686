"""The presence of a person or a bot in the cluster: one session and its rooms, across changes of the connection.

This module owns the table of rooms. Any thread may call the public half; the reader threads of connections call
`handle`, and the reconnector's thread the rest. It must never hold a lock while a future is resolved or a message sent.
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

from msgspec.structs import replace

from parlour.client.asks import Asks
from parlour.client.backlog import BOUND
from parlour.client.connection import Connection
from parlour.client.dialing import dial_cluster
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Message
from parlour.client.newsqueue import NewsQueue
from parlour.client.nodelink import NodeLink
from parlour.client.outbox import Outbox
from parlour.client.people import People
from parlour.client.reconnector import Reconnector
from parlour.client.room import Room
from parlour.client.roomstate import RoomState
from parlour.client.waiting import wait_until
from parlour.runtime.forks import ProcessBound
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.asks import Answer, News
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_QUESTIONS, PROTOCOL, check_name, check_room, minor_version
from parlour.wire.records import post_fault

__all__ = ["Chat", "connect"]


class Chat(ProcessBound, People):
    """A presence in the cluster under a name, made by `connect`; `close` or the end of a `with` ends it.

    When the connection is lost, the chat connects again, perhaps to another node, and when a node asks for it, the chat
    moves to another node: rooms, posts and the session go on. A chat works only in the process that made it: in a child
    of a fork every call raises UsageError, and `close` does nothing.

    Attributes:
        name: the name that others see, in NFC.
        account: the name of the account that the chat is signed in to; empty for a guest.
        session: the session that the posts are counted in; the id of a message of this chat is `SESSION-N`.
        node: the node of the current or the last connection.
        address: the node's HOST:PORT.
        outbox: the posts without an acknowledgement.
    """

    kind = "chat"
    advice = "connect in this process"

    def __init__(
        self, hello: wire.Hello, connection: Connection, brokers: Sequence[str], give_up: float | None = None
    ) -> None:
        self.name = connection.welcome.name or hello.name
        self.account = connection.welcome.account
        self._observer = hello.observer
        self.session = connection.welcome.session
        self.node = connection.welcome.node
        self.address = connection.address
        # Guards _rooms, _end and _asking. Rank 25.
        self._lock = make_lock(25, "chat")
        self._answered = threading.Condition(self._lock)
        self._news = NewsQueue()
        self._asking = 0  # questions for pages of history that are under way
        self._rooms: dict[str, Room] = {}
        self._end: str | None = None  # why nothing can be asked any more
        # The invitation is used up; the next time the password alone signs in.
        self._reconnector = Reconnector(self, brokers, replace(hello, invitation=""), give_up)
        self._asks = Asks(self.request)
        self.outbox = Outbox(self._reconnector.wake, self._await_room)
        self._reconnector.start(connection)

    def __enter__(self) -> Chat:
        self.check_process()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a node now."""
        self.check_process()
        return self._reconnector.current is not None and self._end is None

    @property
    def ended(self) -> bool:
        """Whether the chat was closed, or its connection is lost for good."""
        return self._end is not None

    @property
    def rooms(self) -> list[Room]:
        """The rooms that this chat is in or is joining, in the order of joining."""
        self.check_process()
        with self._lock:
            return list(self._rooms.values())

    def join(self, room: str, history: int = 0, timeout: float = 10.0, backlog: int = BOUND) -> Room:
        """Join a room and return it once its members are known; its events begin with `history` old messages.

        At most `backlog` events wait for the application; those beyond are fetched from the log again later. If the
        chat is in the room already, returns that room as it is; if the chat is leaving it, waits for that and joins
        again. Raises UsageError if the name is not valid or `backlog` is below 1, NodeError if the node refuses,
        DisconnectedError if the chat has ended, DeadlineError after `timeout` seconds.
        """
        self.check_process()
        name = check_room(room)
        if backlog < 1:
            raise UsageError(f"backlog is at least 1, not {backlog}")
        deadline = time.monotonic() + timeout
        new = Room(self, name, backlog, wire.Join(name, history).history)
        while True:
            with self._lock:
                self._check_open()
                joining = self._rooms.setdefault(name, new)
                if not joining.is_leaving:
                    joining.wanted += 1
                    break
            joining.await_left(max(0.0, deadline - time.monotonic()))
        try:
            if joining is new:
                self._reconnector.call(partial(self._reconnector.join, new))
            joining.await_joined(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._give_up(joining)
            raise
        return joining

    def direct(self, name: str, history: int = 0, timeout: float = 10.0) -> Room:
        """Return the room of the private conversation with a person, who is told of it; raises as `join` and `ask`."""
        told = self.ask("direct", {"name": name}, timeout)
        return self.join(told["room"], history, timeout)

    def news(self, timeout: float | None = None) -> Iterator[News]:
        """Yield news for this person: `direct` (a private conversation was opened), `mark`, `ignored` and others.

        Ends when nothing came for `timeout` seconds, and when the chat ends. Of more than 1000 that nobody takes, the
        oldest are dropped.
        """
        while (news := self._news.take(timeout)) is not None:
            self.check_process()
            yield news

    def leave(self, room: str, timeout: float = 10.0) -> None:
        """Leave a room; does nothing if the chat is not in it. Raises as `join` does."""
        joined = self.room(check_room(room))
        if joined is not None:
            joined.leave(timeout)

    def ask(self, what: str, data: Mapping[str, Any] | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Ask the node something; see `People.ask`."""
        self.check_process()
        self._check_open()
        link = self._reconnector.current
        if link is not None and minor_version(link.connection.welcome.protocol) < 3:
            raise NodeError(f"{link.node} is older than this program: it knows nothing of {what}", "bad_version")
        return self._asks.ask(what, data or {}, timeout)

    def sign_in_with(self, **proof: str) -> None:
        """Say these fields in the hello of each further connection."""
        self._reconnector.change_hello(proof)

    def close(self, timeout: float = 5.0) -> None:
        """End the chat within `timeout` seconds; posts without an acknowledgement fail. May be called again."""
        if self.inherited:
            return
        self._finish("the chat was closed", None)
        self._reconnector.close(timeout)

    # --- for rooms --------------------------------------------------------------------------------------------

    def request(self, message: wire.ClientMessage) -> bool:
        """Send a message of the protocol; return False if there is no connection now."""
        link = self._reconnector.current
        if link is None:
            return False
        link.send(message)
        return True

    def rejoin(self, room: Room) -> None:
        """Fetch the messages that the room let go from the log."""
        self._reconnector.call(partial(self._reconnector.join, room))

    def post(
        self, room: str, text: str, timeout: float, kind: str, ref: int, data: Mapping[str, Any]
    ) -> Future[Message]:
        """Post a record to a room that this chat is in; see `Room.post`."""
        self.check_process()
        if self._observer:
            raise UsageError("an observer only listens: connect without observer=True to post")
        if (fault := post_fault(kind, ref, text)) != "":
            raise UsageError(fault)
        return self.outbox.post(room, text, timeout, kind, ref, data)

    def trouble(self, room: str) -> str | None:
        """Return why the posts to a room wait; see `Room.trouble`."""
        return self.outbox.trouble(room)

    def _await_room(self, deadline: float) -> bool:
        self.check_process()
        link = self._reconnector.current
        return link is None or link.connection.await_room(deadline)

    def _check_open(self) -> None:
        if self._end is not None:
            raise DisconnectedError(self._end)

    # --- for the reconnector and the reader threads -----------------------------------------------------------

    def handle(self, link: NodeLink, message: wire.NodeMessage) -> None:
        """Handle a message that came on a connection; called by its reader thread."""
        if isinstance(message, wire.Message):
            room = self.room(message.room)
            if room is not None:
                record = room.on_message(message, link.epochs.get(message.room))
                session, _, number = message.id.rpartition("-")
                if session == self.session and number.isdecimal():
                    self.outbox.acknowledge(int(number), record)
        elif isinstance(message, wire.Accepted):
            self.outbox.accepted(message, self.session, self.name)
        elif isinstance(message, News):
            self._news.put(message)
        elif isinstance(message, Answer):
            self._asks.answered(message)
        elif isinstance(message, wire.Error):
            self._failed(link, message)
        elif isinstance(message, wire.Lagging):
            for room in self.rooms:
                room.on_lagging()
        elif isinstance(message, wire.Left):
            link.epochs.pop(message.room, None)
            self._reconnector.call(partial(self._reconnector.left, link, message.room))
            self._shown_out(link, message.room)
            self.room_left(message.room)
        elif isinstance(message, wire.Move):
            self._reconnector.call(partial(self._reconnector.move, link, message))
        elif isinstance(message, wire.Joined):
            link.epochs[message.room] = message.epoch
            room = self.room(message.room)
            if room is not None:
                room.on_joined(message, link)
            self._reconnector.call(partial(self._reconnector.joined, link, message.room))
        elif isinstance(message, wire.Members | wire.Presence | wire.Page):
            room = self.room(message.room)
            if room is None:
                return  # The application gave up joining it.
            if isinstance(message, wire.Page):
                room.on_page(message)
            elif isinstance(message, wire.Members):
                room.on_members(message, link)
            else:
                room.on_presence(message, link)

    @contextmanager
    def page_slot(self, deadline: float) -> Iterator[None]:
        """Wait until a page of history may be asked for; a node limits these questions. Raises DeadlineError."""
        self.check_process()
        with self._answered:
            if not wait_until(self._answered, lambda: self._asking < MAX_QUESTIONS, deadline):
                raise DeadlineError(f"{MAX_QUESTIONS} questions for history are under way: wait for some of them")
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

    def room_left(self, name: str) -> None:
        """Forget a room that the application left."""
        room = self.room(name)
        # If the application has joined it again meanwhile, it stays.
        if room is not None and room.is_leaving:
            self._forget(room)
            self.outbox.forget(name, DisconnectedError(f"{name} was left before this was acknowledged"))
            room.on_left()

    def room_lost(self, room: RoomState, reason: str) -> None:
        """Forget a room that no node lets the chat into any more."""
        self._forget(room)
        self.outbox.forget(room.name, DisconnectedError(reason))
        room.on_end(reason)

    def lost(self, reason: str) -> None:
        """Fail the asks that wait, as their connection is gone; the node may have done what was asked."""
        self._asks.fail(DisconnectedError(f"{reason}: ask again, it may have been done"))

    def end(self, reason: str) -> None:
        """End the chat: the connection is lost for good."""
        self._finish(reason, reason)

    def expire(self, given_up: Future[Message]) -> None:
        """Fail the post of this future, and those whose time is over now, before the reconnector does."""
        self.outbox.expire(given_up)

    def _shown_out(self, link: NodeLink, name: str) -> None:
        """Forget a room that the application did not leave: the node has said why before it said `left`."""
        room = self.room(name)
        if room is not None and not room.is_leaving:
            self.room_lost(room, link.faults.get(name, f"the node took you out of {name}"))

    def _forget(self, room: RoomState) -> None:
        with self._lock:
            # The application may have joined another room of this name meanwhile.
            if self._rooms.get(room.name) is room:
                del self._rooms[room.name]

    def _give_up(self, room: Room) -> None:
        """Count one caller of `join` less; if it was the last, leave the room."""
        with self._lock:
            room.wanted -= 1
            given_up = not room.wanted and self._rooms.get(room.name) is room
            if given_up:
                del self._rooms[room.name]
        if given_up:
            self._reconnector.call(partial(self._reconnector.leave_abandoned, room.name))

    def _failed(self, link: NodeLink, error: wire.Error) -> None:
        if error.ask is not None:
            self._asks.refused(error)
        elif error.id is not None:
            self.outbox.refused(error.id, NodeError(error.text, error.code, error.retry_after))
        elif error.room is not None:
            link.faults[error.room] = error.text
            room = self.room(error.room)
            if room is not None:
                if error.retry_after is not None:
                    self.outbox.not_opened(error.room, error.text)
                self._reconnector.call(partial(self._reconnector.request_failed, link, room, error))

    def _finish(self, end: str, reason: str | None) -> None:
        """Fail all that waits and end the rooms. Only the first call counts."""
        with self._lock:
            if self._end is not None:
                return
            self._end = end
            rooms, self._rooms = list(self._rooms.values()), {}
        self._news.end()
        self.outbox.end(end)
        self._asks.fail(DisconnectedError(end))
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
    password: str = "",
    token: str = "",
    jwt: str = "",
    invitation: str = "",
) -> Chat:
    """Connect to the cluster of these brokers (HOST:PORT, one or several) within `timeout` s; return the open chat.

    An `observer` hears everything, is not shown to anybody, and cannot post; a `bot` is shown to others as a program.
    The chat signs in to the account `name` with its `password`, the `token` of a device, or a `jwt` of the operator's
    own site; without any of these it is a guest. An `invitation` makes the account, with this password.
    `room` tells the broker which room the chat will join. When the connection is lost later, the chat tries to connect
    again for as long as the program runs, or for at most `give_up` seconds at a time.

    Raises UsageError if the name or an address is not valid, UnavailableError if no broker answers, RefusedError (of
    `parlour.runtime.broker_rpc`) or NodeError if there is no place, NameTakenError if somebody else has the name,
    SignInError if the node does not let this person in, DeadlineError if no node could be reached in time.
    """
    name = check_name(name)
    known = [brokers] if isinstance(brokers, str) else list(brokers)
    # A client that shows the key goes on with the session, so only nodes are told the key.
    key = secrets.token_urlsafe(32)
    hello = wire.Hello(name, "", PROTOCOL, key, observer, bot, password, token, jwt, invitation)
    connection = dial_cluster(known, hello, None if room is None else check_room(room), timeout)
    try:
        return Chat(hello, connection, known, give_up)
    except BaseException:  # The system may have no thread left.
        connection.close()
        raise
