"""The life of a chat's connection: kept up, found again when it is lost, and moved when the node asks for it.

This module owns which connection is the current one and the attempts at another; the keeper's own thread decides,
one short-lived thread at a time opens a connection. Readers and the application only tell the keeper what happened.
It must never wait for a node on its own thread but to part, nor stop trying while coming back is possible.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from parlour.client.connection import Connection
from parlour.client.entrance import step_in, try_to_enter
from parlour.client.link import Link
from parlour.client.outbox import Outbox
from parlour.client.retry import Retry
from parlour.client.room import Room
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import StuckThreadError, join_all, spawn
from parlour.wire import messages as wire
from parlour.wire.errors import ParlourError

__all__ = ["Keeper", "KeptChat"]

ATTEMPT = 4.0
"""Seconds that one attempt to come in takes at most, as `close` has to wait for its end."""

MOVING = 5.0
"""Seconds that a node one moves to has to let one join all rooms; else one stays."""

PARTING = 1.0
"""Seconds for saying bye to a node."""

_LONG = 60.0
"""Seconds that the keeper sleeps at most."""


class KeptChat(Protocol):
    """What the keeper needs of the chat that it keeps connected; it writes `node` and `address`."""

    name: str
    node: str
    address: str
    outbox: Outbox

    @property
    def rooms(self) -> list[Room]:
        """The rooms that the chat is in."""
        ...

    def room(self, name: str) -> Room | None:
        """Return the room of this name that the chat is in, or is about to be."""
        ...

    def handle(self, link: Link, message: wire.NodeMessage) -> None:
        """Take in what came on a connection; called by its reader thread."""
        ...

    def left(self, name: str) -> None:
        """Take in that the room of this name is left."""
        ...

    def drop(self, room: Room, reason: str) -> None:
        """Take in that no node lets the chat into a room any more."""
        ...

    def end(self, reason: str) -> None:
        """Take in that the connection is lost for good."""
        ...


class Keeper:
    """Keeps `chat` connected; `start` it with the first connection, `close` it at the end."""

    def __init__(self, chat: KeptChat, brokers: Sequence[str], hello: wire.Hello, give_up: float | None) -> None:
        """Come back through these brokers, with this hello, for at most `give_up` seconds at a time."""
        self._chat = chat
        self._brokers = brokers
        self._hello = hello  # but for the ticket
        # Guards _told, _closing, _awake, _links and _attempt. Rank 50.
        self._lock = make_lock(50, f"{chat.name}'s keeper")
        self._changed = threading.Condition(self._lock)
        self._told: deque[Callable[[], None]] = deque()
        self._awake = False
        self._closing = False
        self._links: list[Link] = []
        self._attempt: threading.Thread | None = None
        self._thread: threading.Thread | None = None
        # Written by the keeper's thread alone, read by all.
        self.current: Link | None = None
        # The rest is the keeper thread's alone.
        self._next: Link | None = None  # the connection that one is moving to
        self._next_by = 0.0
        self._count = 0
        self._retry = Retry(chat.name, give_up)

    # --- for other threads ------------------------------------------------------------------------------------

    def start(self, connection: Connection) -> None:
        """Begin with a connection that is open."""
        self.current = self._adopt(connection)
        self._thread = spawn(f"{self._chat.name}-keeper", self._run)

    def tell(self, what: Callable[[], None]) -> bool:
        """Have this done on the keeper's thread, in its turn; return False if it has ended."""
        with self._changed:
            if self._closing:
                return False
            self._told.append(what)
            self._changed.notify()
            return True

    def wake(self) -> None:
        """Something is due earlier than it was."""
        with self._changed:
            self._awake = True
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """End the connections and all threads within `timeout` seconds; raises StuckThreadError if some stay."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify()
            links, attempt = list(self._links), self._attempt
        stuck: StuckThreadError | None = None
        for link in links:
            try:
                link.connection.close(max(0.1, (deadline - time.monotonic()) / 2))
            except StuckThreadError as error:
                stuck = error
        threads = [thread for thread in (self._thread, attempt) if thread is not None]
        join_all(threads, max(0.0, deadline - time.monotonic()))
        if stuck is not None:
            raise stuck

    # --- the keeper's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        reason = "the chat's keeper failed: a bug in parlour"
        try:
            while (told := self._wait(self._due())) is not None:
                for what in told:
                    what()
                self._do_what_is_due()
            reason = ""
        finally:
            if reason:
                self._end(reason)
            # One that was opened while `close` was already at work on the others.
            for link in list(self._links):
                self._retire(link)

    def _end(self, reason: str) -> None:
        """There is no way back."""
        with self._lock:
            self._closing = True
        self._chat.end(reason)

    def _wait(self, due: float) -> list[Callable[[], None]] | None:
        """Return what was told, as soon as there is something or it is time; None at the end."""
        with self._changed:
            if not (self._told or self._awake or self._closing):
                self._changed.wait(max(0.0, min(_LONG, due - time.monotonic())))
            self._awake = False
            told = list(self._told)
            self._told.clear()
            return None if self._closing else told

    def _due(self) -> float:
        """Return when something is to be done though nothing happens, in monotonic seconds."""
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
                self._stay(self._next)
        elif (end := self._retry.end(now)) is not None:
            self._end(end)
        elif (assign := self._retry.next(now)) is not None:
            self._begin(partial(try_to_enter, self._brokers, assign, self._hello, ATTEMPT, self._retry.turn_at))

    # --- attempts ---------------------------------------------------------------------------------------------

    def _begin(self, way_in: Callable[[], Connection]) -> None:
        try:
            with self._lock:
                if not self._closing:
                    self._attempt = spawn(f"{self._chat.name}-entering", self._enter, way_in)
        except RuntimeError as error:  # the system has no thread for it now
            self._not_entered(error)

    def _enter(self, way_in: Callable[[], Connection]) -> None:
        """Open a connection, on a thread of its own, so that meanwhile posts expire in time and `close` is heard."""
        try:
            connection = way_in()
        except Exception as error:
            self.tell(partial(self._not_entered, error))
            if not isinstance(error, ParlourError | OSError):
                raise
        else:
            if not self.tell(partial(self._entered, connection)):
                connection.close(PARTING)

    def _not_entered(self, error: Exception) -> None:
        self._ended_attempt()
        if self.current is not None:
            return  # It was a move: one stays where one is.
        self._chat.outbox.detach(str(error))
        if (end := self._retry.failed(error, time.monotonic())) is not None:
            self._end(end)

    def _entered(self, connection: Connection) -> None:
        self._ended_attempt()
        link = self._adopt(connection)
        if self.current is None:
            self._promote(link)
        else:
            self._next, self._next_by = link, time.monotonic() + MOVING
        for room in self._chat.rooms:
            self._join(link, room)
        self._arrive()

    def _ended_attempt(self) -> None:
        with self._lock:
            attempt, self._attempt = self._attempt, None
        if attempt is not None:
            # It has told what came of it, and has only to end: on a machine that is too busy even that takes.
            with suppress(StuckThreadError):
                join_all([attempt], PARTING)

    def _adopt(self, connection: Connection) -> Link:
        self._count += 1
        link = Link(self._count, connection)
        with self._lock:
            self._links.append(link)
        connection.start(
            f"{self._chat.name}-reader-{self._count}",
            partial(self._chat.handle, link),
            lambda reason: self.tell(partial(self._lost, link, reason)),
        )
        return link

    # --- rooms ------------------------------------------------------------------------------------------------

    def enter(self, room: Room) -> None:
        """The application wants to be in a room, or to hear what was let go of its messages."""
        for link in (self.current, self._next):
            if link is not None:
                self._join(link, room)

    def abandon(self, name: str) -> None:
        """The application has given up joining a room; where that is not answered yet, `joined` leaves it."""
        for link in (self.current, self._next):
            if link is not None and name in link.joined and self._chat.room(name) is None:
                link.leave(name)

    def left(self, link: Link, name: str) -> None:
        """A room was left on a connection."""
        link.left(name)
        self._arrive()

    def _join(self, link: Link, room: Room) -> None:
        if not room.parting:
            link.join(room.resume())

    def joined(self, link: Link, name: str) -> None:
        """A room was joined on a connection."""
        if link.over:
            return
        if self._chat.room(name) is None:
            link.leave(name)  # The application has given it up meanwhile.
        link.joined.add(name)
        if link is self.current:
            self._open(link, name)
        else:
            self._arrive()

    def not_joined(self, link: Link, room: Room, error: wire.Error) -> None:
        """Something asked for in a room was not done; if it was the joining, that is for the keeper to mend."""
        if link.over:
            return
        if link is self._next and room.name not in link.joined:
            self._stay(link)
        elif error.code == "not_joined":
            # No answer to a join: something was asked before, and will be again when the room is joined here.
            self._chat.left(room.name)
        elif room.name in link.joined or not room.is_entered:
            room.on_error(error)
        elif error.retry_after is not None:
            link.join_later(room.name, time.monotonic() + error.retry_after)
        else:
            self._chat.drop(room, error.text)

    def _open(self, link: Link, name: str) -> None:
        """Posts of the room go by this connection from now on, and so do its questions."""
        room = self._chat.room(name)
        if room is not None:
            self._chat.outbox.open(name, link.post)
            for question in room.questions:
                link.send(question)

    # --- changes of the connection ----------------------------------------------------------------------------

    def move(self, link: Link, move: wire.Move) -> None:
        """A node asks that one goes on at another."""
        if link is self.current and self._next is None and self._attempt is None:
            hello = replace(self._hello, ticket=move.ticket)
            self._begin(partial(step_in, move.node, move.address, hello, ATTEMPT))

    def _arrive(self) -> None:
        """Go over to the connection that one moves to, once it brings every room."""
        link = self._next
        if link is not None and link.brings_all:
            self._promote(link)

    def _stay(self, link: Link) -> None:
        """The connection that one was to move to is of no use."""
        self._next = None
        self._retire(link)
        if self.current is not None:
            # Rooms that had turned to it turn back.
            for room in self._chat.rooms:
                self._join(self.current, room)

    def _promote(self, link: Link) -> None:
        """Make this connection the current one, and let go of the one before."""
        old, self.current, self._next = self.current, link, None
        self._chat.node, self._chat.address = link.node, link.connection.address
        self._chat.outbox.detach()
        for name in link.joined:
            self._open(link, name)
        for room in self._chat.rooms:
            if room.parting:
                # It was said to the old node, whose answer need not be waited for.
                self._chat.left(room.name)
        for name in link.asked - {room.name for room in self._chat.rooms}:
            link.leave(name)
        if old is not None:
            self._retire(old)

    def _lost(self, link: Link, reason: str) -> None:
        if link is self._next:
            self._stay(link)
        elif link is self.current:
            self.current = None
            self._retire(link)
            self._chat.outbox.detach(reason)
            for room in self._chat.rooms:
                if room.parting:
                    self._chat.left(room.name)
                else:
                    room.on_lost(link, reason)
            now = time.monotonic()
            self._retry.lost(link.node, link.since, now)
            if self._next is not None:
                self._promote(self._next)
            elif self._attempt is None:
                self._retry.begin(now)

    def _retire(self, link: Link) -> None:
        link.over = True
        # The application may hold its reader in a callback; it ends when that returns.
        with suppress(StuckThreadError):
            link.connection.close(PARTING)
        with self._lock:
            self._links.remove(link)
