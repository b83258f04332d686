"""A room that a chat is in, as a program sees it: say, hear, and who is there.

This module owns the room's backlog of events and its roster. The application's threads call the upper half of the
class, the chat's keeper and reader threads the lower half, and neither waits for the other for longer than a lock is
held. It must never send while holding its lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol

from parlour.client.backlog import BOUND, Backlog
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Disconnected, Event, Lagging, Message, Presence, Reconnected, Reconnecting
from parlour.client.link import Link
from parlour.client.patience import LONG, is_done
from parlour.client.requests import Requests, await_answer, fail
from parlour.client.roster import Roster
from parlour.runtime.forks import ProcessBound
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire

__all__ = ["Room", "RoomOwner"]

_SETTLING = 1.0
"""Seconds that another thread may need to hand over an outcome that is known."""


class RoomOwner(Protocol):
    """What a room needs of the chat that it belongs to."""

    name: str
    session: str

    def request(self, message: wire.ClientMessage) -> bool:
        """Send a message of the protocol; return False if there is no connection now."""
        ...

    def post(self, room: str, text: str, timeout: float) -> Future[Message]:
        """Post a text to a room; see `Room.post`."""
        ...

    def trouble(self, room: str) -> str | None:
        """Return why the posts to a room wait; see `Room.trouble`."""
        ...

    def expire(self) -> None:
        """Fail the posts whose time is over."""
        ...

    def one_of_few(self, deadline: float) -> AbstractContextManager[None]:
        """Wait until a page of history may be asked for; raises DeadlineError."""
        ...

    def rejoin(self, room: Room) -> None:
        """Have the messages that a room let go fetched from the log."""
        ...

    def left(self, name: str) -> None:
        """Take in that the room of this name is left."""
        ...


class Room(ProcessBound):
    """A room of a chat; made by `Chat.join`, and safe to use from several threads, but in one process alone."""

    kind = "room"
    advice = "connect in this process, and join there"

    def __init__(self, chat: RoomOwner, name: str, backlog: int = BOUND, history: int = 0) -> None:
        self.name = name
        self.wanted = 0  # joins that were not given up; the chat's lock guards it
        self._chat = chat
        # Guards all fields below. Rank 30.
        self._lock = make_lock(30, f"room {name}")
        self._changed = threading.Condition(self._lock)
        self._backlog = Backlog(name, backlog, history)
        self._link: Link | None = None  # the connection that tells who is here
        self._interrupted = False
        self._roster = Roster()
        self._replays = 0
        self._requests = Requests()
        self._end: str | None = None  # why nothing can be asked any more

    def __repr__(self) -> str:
        return f"<Room {self.name!r}>"

    # --- for the application ----------------------------------------------------------------------------------

    @property
    def members(self) -> list[str]:
        """The names here, sorted; in a room of more than 200 possibly not all (`who` asks for them)."""
        self.check_process()
        with self._lock:
            return sorted(self._roster.names)

    @property
    def bots(self) -> list[str]:
        """Those of the `members` that are programs, sorted."""
        self.check_process()
        with self._lock:
            return sorted(self._roster.bots & self._roster.names)

    @property
    def count(self) -> int:
        """How many names are here."""
        self.check_process()
        with self._lock:
            return self._roster.count

    @property
    def replays(self) -> int:
        """How many messages said before joining are replayed at the start of `events`."""
        self.check_process()
        return self._replays

    @property
    def trouble(self) -> str | None:
        """Why posts made here wait, in a line: what the node said of the room log, or how the connection was lost.

        None if none waits, or nothing is known to be wrong. What waits is sent again until its time is over.
        """
        self.check_process()
        return self._chat.trouble(self.name)

    def say(self, text: str, timeout: float = 10.0) -> Message:
        """Post a text and return the logged message, at most `timeout` seconds later.

        Raises UsageError if the text is too long, NodeError if the node could not log it in that time, DeadlineError if
        no acknowledgement came, DisconnectedError if the chat was closed or the connection is lost for good: with these
        two it may have been logged all the same. A connection that is lost for a while raises nothing.
        """
        deadline = time.monotonic() + timeout
        future = self.post(text, timeout)
        if not is_done(future, deadline):
            self._chat.expire()
        if not is_done(future, time.monotonic() + _SETTLING):
            raise DeadlineError("what became of it is held up by another post's callback: it may have been logged")
        return future.result()

    def post(self, text: str, timeout: float = 10.0) -> Future[Message]:
        """Post a text without waiting for its acknowledgement; return the future logged message.

        Posts of one chat are logged in the order in which they were made, unless the node could not log one for a
        moment: others that were on their way then may come before it. A post that was not acknowledged when the
        connection was lost is sent again, and logged once. Waits while 1000 of them are unacknowledged, or the node
        takes no more. Raises what `say` does, as far as it is known at once; the future raises the rest, `timeout`
        seconds after the call at the latest. Its callbacks run on the chat's own threads, so they must not wait for
        the chat.
        """
        self.check_process()
        with self._lock:
            self._check_here()
        return self._chat.post(self.name, text, timeout)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield what happens here, in order, from the first message replayed.

        Ends when nothing happened for `timeout` seconds (None: any time), when the chat is closed or the room left,
        and after Disconnected. A connection that is lost for a while is told by Reconnecting and Reconnected; nothing
        is missing then, nor comes twice, and of comings and goings the sum is told. An application that does not take
        its events misses none: what is over the room's backlog is fetched again from the log when that has been
        taken, with comings and goings in one sum.
        """
        while (event := self._next(timeout)) is not None:
            yield event

    def who(self, timeout: float = 10.0) -> list[str]:
        """Ask the node who is here now; return all names, sorted. Raises as `Chat.join` does."""
        self.check_process()
        with self._lock:
            self._check_here()
            question = self._requests.ask_who()
        try:
            self._chat.request(wire.Who(self.name))
            return await_answer(question, f"who is in {self.name}", timeout)
        finally:
            with self._lock:
                self._requests.drop(question)

    def history(self, before: int | None = None, limit: int = 100, timeout: float = 10.0) -> list[Message]:
        """Return the last `limit` messages before this offset, oldest first; by default the newest there are.

        They are fewer only where no more are kept. Raises as `Chat.join` does, and UsageError for a number below 1.
        """
        deadline = time.monotonic() + timeout
        found: list[Message] = []
        epoch, asked = None, wire.History(self.name, wire.MAX_OFFSET if before is None else before, limit)
        while len(found) < limit:
            with self._chat.one_of_few(deadline):
                page = self._page(asked, deadline)
            if epoch not in (None, page.epoch):
                break  # Offsets of before mean nothing in this one.
            found[:0] = [Message.of(message, True, self._chat.session) for message in page.messages]
            epoch = page.epoch
            if page.after <= page.trimmed or len(found) >= limit:
                break
            asked = wire.History(self.name, page.after + 1, limit - len(found))
        return found[-limit:]  # Another thread may have asked for more of the same.

    def _page(self, question: wire.History, deadline: float) -> wire.Page:
        self.check_process()
        with self._lock:
            self._check_here()
            page = self._requests.ask_page(question)
        try:
            self._chat.request(question)
            return await_answer(page, f"the history of {self.name}", max(0.0, deadline - time.monotonic()))
        finally:
            with self._lock:
                self._requests.drop(page)

    def leave(self, timeout: float = 10.0) -> None:
        """Leave the room; `events` then ends. Raises as `Chat.join` does."""
        self.check_process()
        with self._lock:
            self._check_here()
            parting = self._requests.part()
        if not self._chat.request(wire.Leave(self.name)):
            self._chat.left(self.name)  # Nobody to tell: the room is just not joined again.
        await_answer(parting, f"leaving {self.name}", timeout)

    def _check_here(self) -> None:
        if self._end is not None:
            raise DisconnectedError(self._end)

    def _next(self, timeout: float | None) -> Event | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.check_process()
            with self._lock:
                now = time.monotonic()
                event = self._backlog.take()
                if event is not None or self._end is not None:
                    return event
                # Looked at before the time is: an application that only polls has to come to it, too.
                rejoin = self._backlog.rejoin(now)
                if not rejoin:
                    if deadline is not None and now >= deadline:
                        return None
                    waits = (LONG, self._backlog.wait(now), None if deadline is None else deadline - now)
                    self._changed.wait(min(wait for wait in waits if wait is not None))
            if rejoin:
                self._chat.rejoin(self)

    # --- for the chat, its keeper and its reader threads -------------------------------------------------------

    @property
    def parting(self) -> bool:
        """Whether the application is leaving."""
        with self._lock:
            return self._requests.parting is not None

    @property
    def questions(self) -> list[wire.ClientMessage]:
        """What the application waits to be told, to be asked again on another connection."""
        with self._lock:
            return self._requests.open_questions(self.name)

    @property
    def is_entered(self) -> bool:
        """Whether the application is in the room already, or else waits to be."""
        return self._requests.entering.done()

    def resume(self) -> wire.Join:
        """Return the join that brings the room to a connection; the keeper sends it, and nobody else sends any."""
        with self._lock:
            return self._backlog.resume()

    def on_lost(self, link: Link, reason: str) -> None:
        """A connection was lost, and the keeper is looking for another."""
        with self._changed:
            if self._link is link:
                self._interrupted = True
                self._backlog.add(Reconnecting(reason))
                self._changed.notify_all()

    def gone(self, timeout: float) -> None:
        """Wait until the room is left, or nobody is leaving it any more; raises as `leave` does."""
        with self._lock:
            parting = self._requests.parting
        if parting is not None:
            await_answer(parting, f"leaving {self.name}", timeout)

    def entered(self, timeout: float) -> None:
        """Wait until the room is joined; raises as `Chat.join` does."""
        await_answer(self._requests.entering, f"joining {self.name}", timeout)

    def on_joined(self, joined: wire.Joined, link: Link) -> None:
        """The node at the other end of this connection says where the room stands."""
        with self._changed:
            if self._link is None or not self._link.newer_than(link):
                self._link = link
                self._roster.relist()
                if self._interrupted:
                    self._interrupted = False
                    self._backlog.add(Reconnected(link.node))
                if self._requests.entering_open:
                    self._replays = max(0, joined.offset - joined.after)
            elif joined.epoch != self._backlog.epoch:
                return  # The newer connection tells of new epochs.
            self._backlog.joined(joined)
            self._changed.notify_all()

    def on_message(self, message: wire.Message, epoch: str | None) -> Message:
        """Keep a message of this epoch for the application, and return it as the event that it is."""
        with self._changed:
            event = self._backlog.message(message, epoch, self._chat.session)
            self._changed.notify()
        return event

    def on_members(self, members: wire.Members, link: Link) -> None:
        """Take a list of names, or a part of one."""
        with self._changed:
            if link is not self._link:
                return  # Who is here is told by the newest connection alone.
            if not self._roster.list(members.names, members.count, members.more, _bots(members.names, members.bots)):
                return
            self._tell()
            names = sorted(self._roster.names)
            entering = self._requests.take_entering()
            # A list cut short belongs to a join. A whole one may be the answer to several questions.
            answered = self._requests.take_who() if len(names) >= members.count else []
        for question in answered:
            question.set_result(names)
        if entering is not None:
            entering.set_result(None)

    def on_page(self, page: wire.Page) -> None:
        """Old messages that were asked for, perhaps by several threads."""
        with self._lock:
            answered = self._requests.take_pages(page.before)
        for question in answered:
            question.set_result(page)

    def on_presence(self, presence: wire.Presence, link: Link) -> None:
        """Apply comings and goings to the roster, and keep those that are news."""
        with self._changed:
            if link is not self._link:
                return
            # One's own absence, while one was on the way back, is over when one hears of it.
            left = [name for name in presence.left if name != self._chat.name]
            self._roster.change(presence.joined, left, presence.count, _bots(presence.joined, presence.bots))
            self._tell()

    def on_lagging(self) -> None:
        """The node says that this program reads too slowly."""
        with self._changed:
            self._backlog.offer(Lagging())
            self._changed.notify()

    def on_error(self, error: wire.Error) -> None:
        """Something asked for in this room, that was no post, was not done."""
        with self._changed:
            if self._backlog.refused(time.monotonic(), error.retry_after):
                self._changed.notify_all()
                return
            asked = self._requests.take_all()
        fail(asked, NodeError(error.text, error.code, error.retry_after))

    def on_left(self) -> None:
        """The room was left: nothing follows."""
        with self._changed:
            self._end = f"{self.name} was left: join it again"
            parting = self._requests.take_parting()
            asked = self._requests.take_all()
            self._changed.notify_all()
        if parting is not None:
            parting.set_result(None)
        fail(asked, DisconnectedError(self._end))

    def on_end(self, reason: str | None) -> None:
        """The connection was lost for this `reason`, or the chat closed (None): nothing follows."""
        with self._changed:
            self._end = reason or "the chat was closed"
            if reason is not None:
                self._backlog.add(Disconnected(reason))
            parting = self._requests.take_parting()
            asked = [*self._requests.take_all(), *([] if parting is None else [parting])]
            self._changed.notify_all()
        fail(asked, DisconnectedError(self._end))

    def _tell(self) -> None:
        """Keep the news of the roster for the application, as soon as they can be kept; the lock is held."""
        news = self._roster.news()
        if news is None:
            return
        bots = tuple(name for name in news[0] if name in self._roster.bots)
        if self._backlog.offer(Presence(self.name, *news, self._roster.count, bots)):
            self._roster.told()
            self._changed.notify()


def _bots(names: list[str], places: list[int]) -> list[str]:
    return [names[place] for place in places if place < len(names)]
