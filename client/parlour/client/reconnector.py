"""The connection of a chat: kept up, replaced when it is lost, and moved to another node when a node asks for it.

This module owns which connection is the current one and the attempts at another. The reconnector's own thread decides,
and one short-lived thread at a time opens a connection; readers and the application only tell the reconnector what
happened. Its thread must never wait for a node except to close a connection, nor stop while coming back is possible.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from parlour.client.attempt import PARTING, Attempts
from parlour.client.connection import Connection
from parlour.client.dialing import dial, dial_once
from parlour.client.nodelink import NodeLink
from parlour.client.outbox import Outbox
from parlour.client.retry import FINAL, Retry
from parlour.client.roomstate import RoomState
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import StuckThreadError, join_all, spawn
from parlour.wire import messages as wire

__all__ = ["Reconnector", "ReconnectorOwner"]

ATTEMPT = 4.0
"""Seconds that one attempt at a connection takes at most, as `close` has to wait for its end."""

MOVING = 5.0
"""Seconds in which the node of a move must let the chat join all rooms; otherwise the chat stays where it is."""

_LONG = 60.0
"""Longest sleep of the reconnector's thread, in seconds."""


class ReconnectorOwner(Protocol):
    """What the reconnector needs of its chat; the reconnector writes `node` and `address`."""

    name: str
    node: str
    address: str
    outbox: Outbox

    @property
    def rooms(self) -> Sequence[RoomState]:
        """The rooms that the chat is in, or is about to be."""
        ...

    def room(self, name: str) -> RoomState | None:
        """Return the room of this name that the chat is in, or is about to be."""
        ...

    def handle(self, link: NodeLink, message: wire.NodeMessage) -> None:
        """Handle a message that came on a connection; called by its reader thread."""
        ...

    def room_left(self, name: str) -> None:
        """Forget the room of this name, which the application left."""
        ...

    def room_lost(self, room: RoomState, reason: str) -> None:
        """Forget a room that no node lets the chat into any more."""
        ...

    def lost(self, reason: str) -> None:
        """Fail what waits for an answer on a connection that is lost."""
        ...

    def end(self, reason: str) -> None:
        """End the chat: the connection is lost for good."""
        ...


class Reconnector:
    """Keeps `chat` connected. Call `start` with the first connection, and `close` at the end."""

    def __init__(
        self, chat: ReconnectorOwner, brokers: Sequence[str], hello: wire.Hello, give_up: float | None
    ) -> None:
        """Come back through these brokers, with this hello, for at most `give_up` seconds at a time."""
        self._chat = chat
        self._brokers = brokers
        self._hello = hello  # without a ticket; replaced as a whole, by the application's threads
        # Guards _calls, _closing, _awake and _links. Rank 50.
        self._lock = make_lock(50, f"{chat.name}'s reconnector")
        self._changed = threading.Condition(self._lock)
        self._calls: deque[Callable[[], None]] = deque()
        self._awake = False
        self._closing = False
        self._links: list[NodeLink] = []
        self._thread: threading.Thread | None = None
        # Only the reconnector's thread writes this; every thread may read it.
        self.current: NodeLink | None = None
        # Only the reconnector's thread uses the rest.
        self._next: NodeLink | None = None  # the connection to the node of a move
        self._next_by = 0.0
        self._count = 0
        self._retry = Retry(chat.name, give_up)
        self._attempts = Attempts(chat.name, self.call, self._attempt_succeeded, self._attempt_failed)

    # --- for other threads ------------------------------------------------------------------------------------

    def start(self, connection: Connection) -> None:
        """Begin with an open connection."""
        self.current = self._adopt(connection)
        self._thread = spawn(f"{self._chat.name}-reconnector", self._run)

    def call(self, function: Callable[[], None]) -> bool:
        """Have the reconnector's thread call a function, in order; return False if the thread has ended."""
        with self._changed:
            if self._closing:
                return False
            self._calls.append(function)
            self._changed.notify()
            return True

    def wake(self) -> None:
        """Wake the thread, since something is due earlier than before."""
        with self._changed:
            self._awake = True
            self._changed.notify()

    def change_hello(self, fields: Mapping[str, str]) -> None:
        """Say these fields in the hello of each further connection."""
        self._hello = replace(self._hello, **fields)
        self._retry.name = self._hello.name

    def close(self, timeout: float) -> None:
        """End the connections and all threads within `timeout` seconds; raises StuckThreadError if some stay."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify()
            links = list(self._links)
        threads = self._attempts.end()
        stuck: StuckThreadError | None = None
        for link in links:
            try:
                link.connection.close(max(0.1, (deadline - time.monotonic()) / 2))
            except StuckThreadError as error:
                stuck = error
        threads += [] if self._thread is None else [self._thread]
        join_all(threads, max(0.0, deadline - time.monotonic()))
        if stuck is not None:
            raise stuck

    # --- the reconnector's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        """Keep the chat connected until its end: make the calls of other threads, and do what is due."""
        reason = "the chat's reconnector failed: a bug in parlour"
        try:
            while (calls := self._wait(self._due())) is not None:
                for call in calls:
                    call()
                self._do_what_is_due()
            reason = ""
        finally:
            if reason:
                self._end(reason)
            # An attempt may have opened a connection while `close` was closing the others.
            for link in list(self._links):
                self._retire(link)

    def _end(self, reason: str) -> None:
        """End the chat: there is no way back."""
        with self._lock:
            self._closing = True
        self._attempts.end()
        self._chat.end(reason)

    def _wait(self, due: float) -> list[Callable[[], None]] | None:
        """Return the calls to make, as soon as there are some or it is time; None at the end."""
        with self._changed:
            if not (self._calls or self._awake or self._closing):
                self._changed.wait(max(0.0, min(_LONG, due - time.monotonic())))
            self._awake = False
            calls = list(self._calls)
            self._calls.clear()
            return None if self._closing else calls

    def _due(self) -> float:
        """Return when the next thing is due even if nothing happens, in monotonic seconds."""
        due = [self._chat.outbox.due(), self._retry.due() if self.current is None else self.current.due()]
        if self._next is not None:
            due.append(self._next_by)
        return min(due)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        outbox = self._chat.outbox
        outbox.expire()
        if (link := self.current) is not None:
            for name in outbox.ready():
                outbox.open(name, link.post)
            for name in link.take_due(now):
                room = self._chat.room(name)
                if room is not None:
                    self._join(link, room)
            if self._next is not None and now >= self._next_by:
                self._cancel_move(self._next)
        elif (end := self._retry.end(now)) is not None:
            self._end(end)
        elif (assign := self._retry.next(now)) is not None:
            self._attempts.start(partial(dial_once, self._brokers, assign, self._hello, ATTEMPT, self._retry.turn_at))

    # --- attempts ---------------------------------------------------------------------------------------------

    def _attempt_failed(self, error: Exception) -> None:
        if self.current is not None:
            return  # It was a move: the chat stays where it is.
        self._chat.outbox.detach(str(error))
        if (end := self._retry.failed(error, time.monotonic())) is not None:
            self._end(end)

    def _attempt_succeeded(self, connection: Connection) -> None:
        link = self._adopt(connection)
        if self.current is None:
            self._switch_to(link)
        else:
            self._next, self._next_by = link, time.monotonic() + MOVING
        for room in self._chat.rooms:
            self._join(link, room)
        self._finish_move()

    def _adopt(self, connection: Connection) -> NodeLink:
        """Begin to read an open connection."""
        self._count += 1
        link = NodeLink(self._count, connection)
        with self._lock:
            self._links.append(link)
        connection.start(
            f"{self._chat.name}-reader-{self._count}",
            partial(self._chat.handle, link),
            lambda reason: self.call(partial(self._lost, link, reason)),
        )
        return link

    # --- rooms ------------------------------------------------------------------------------------------------

    def join(self, room: RoomState) -> None:
        """Join a room for the first time, or again to fetch messages that were let go."""
        for link in (self.current, self._next):
            if link is not None:
                self._join(link, room)

    def leave_abandoned(self, name: str) -> None:
        """Leave a room that the application gave up joining. If the join is not answered yet, `joined` leaves it."""
        for link in (self.current, self._next):
            if link is not None and name in link.joined and self._chat.room(name) is None:
                link.leave(name)

    def left(self, link: NodeLink, name: str) -> None:
        """Note that a room was left on a connection."""
        link.left(name)
        self._finish_move()

    def _join(self, link: NodeLink, room: RoomState) -> None:
        if not room.is_leaving:
            link.join(room.resume())

    def joined(self, link: NodeLink, name: str) -> None:
        """Note that a room was joined on a connection."""
        if link.over:
            return
        if self._chat.room(name) is None:
            link.leave(name)  # The application has given it up meanwhile.
        link.joined.add(name)
        if link is self.current:
            self._open(link, name)
        else:
            self._finish_move()

    def request_failed(self, link: NodeLink, room: RoomState, error: wire.Error) -> None:
        """Handle a request in a room that the node refused; joining again after a loss is the reconnector's own."""
        if link.over:
            return
        if link is self._next and room.name not in link.joined:
            self._cancel_move(link)
        elif error.code == "not_joined":
            # No answer to a join. A leave has nothing left to do; other requests are repeated once the room is joined.
            self._chat.room_left(room.name)
        elif room.name in link.joined or not room.is_entered:
            room.on_error(error)
        elif error.retry_after is not None:
            link.join_later(room.name, time.monotonic() + error.retry_after)
        else:
            self._chat.room_lost(room, error.text)

    def _open(self, link: NodeLink, name: str) -> None:
        """Send the room's posts and questions on this connection from now on."""
        room = self._chat.room(name)
        if room is not None:
            self._chat.outbox.open(name, link.post)
            for question in room.questions:
                link.send(question)

    # --- changes of the connection ----------------------------------------------------------------------------

    def move(self, link: NodeLink, move: wire.Move) -> None:
        """Begin to move to another node, as this one asks for."""
        if link is self.current and self._next is None and not self._attempts.running:
            hello = replace(self._hello, ticket=move.ticket)
            self._attempts.start(partial(dial, move.node, move.address, hello, ATTEMPT))

    def _finish_move(self) -> None:
        """Switch to the connection of the move once it brings every room."""
        link = self._next
        if link is not None and link.brings_all:
            self._switch_to(link)

    def _cancel_move(self, link: NodeLink) -> None:
        """Close the connection of the move and stay on the current one."""
        self._next = None
        self._retire(link)
        if self.current is not None:
            # Rooms that had turned to the new connection turn back.
            for room in self._chat.rooms:
                self._join(self.current, room)

    def _switch_to(self, link: NodeLink) -> None:
        """Make this connection the current one, and close the one before."""
        old, self.current, self._next = self.current, link, None
        self._chat.node, self._chat.address = link.node, link.connection.address
        self._chat.outbox.detach()
        for name in link.joined:
            self._open(link, name)
        for room in self._chat.rooms:
            if room.is_leaving:
                # The old node was told; its answer is not needed.
                self._chat.room_left(room.name)
        for name in link.asked - {room.name for room in self._chat.rooms}:
            link.leave(name)
        if old is not None:
            self._chat.lost("the chat has moved to another node")
            self._retire(old)

    def _lost(self, link: NodeLink, reason: str) -> None:
        """Handle the loss of a connection."""
        if link is self._next:
            self._cancel_move(link)
        elif link is self.current:
            self.current = None
            self._retire(link)
            if link.connection.end_code in FINAL:
                self._end(reason)
                return
            self._chat.outbox.detach(reason)
            self._chat.lost(reason)
            for room in self._chat.rooms:
                if room.is_leaving:
                    self._chat.room_left(room.name)
                else:
                    room.on_lost(link, reason)
            now = time.monotonic()
            self._retry.lost(link.node, link.since, now)
            if self._next is not None:
                self._switch_to(self._next)
            elif not self._attempts.running:
                self._retry.begin(now)

    def _retire(self, link: NodeLink) -> None:
        """Close a connection that does not count any more."""
        link.over = True
        # The application may hold its reader thread in a callback; the thread ends when that returns.
        with suppress(StuckThreadError):
            link.connection.close(PARTING)
        with self._lock:
            self._links.remove(link)
