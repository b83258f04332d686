"""A room that a chat is in, as a program sees it: say, hear, look back, and who is there.

This module owns what an application may ask of a room and how its threads wait for it; what the node tells is kept by
`RoomState`. It must never send while it holds the room's lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol

from parlour.client.backlog import BOUND
from parlour.client.errors import DeadlineError, DisconnectedError
from parlour.client.events import Event, Message
from parlour.client.fold import REDACTION, Fold
from parlour.client.patience import LONG, is_done
from parlour.client.requests import await_answer
from parlour.client.roomstate import RoomState
from parlour.runtime.forks import ProcessBound
from parlour.wire import messages as wire
from parlour.wire.errors import UsageError
from parlour.wire.records import EDIT, REACT, REDACT, SAID

__all__ = ["Room", "RoomOwner"]

_LEAST = 20
"""Records asked for at a time where too few of those before were messages."""

_SETTLING = 1.0
"""Seconds that another thread may need to hand over an outcome that is known."""


class RoomOwner(Protocol):
    """What a room needs of the chat that it belongs to."""

    name: str
    session: str

    def request(self, message: wire.ClientMessage) -> bool:
        """Send a message of the protocol; return False if there is no connection now."""
        ...

    def post(
        self, room: str, text: str, timeout: float, kind: str, ref: int, data: Mapping[str, Any]
    ) -> Future[Message]:
        """Post a record to a room; see `Room.post`."""
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


class Room(ProcessBound, RoomState):
    """A room of a chat; made by `Chat.join`, and safe to use from several threads, but in one process alone."""

    kind = "room"
    advice = "connect in this process, and join there"

    def __init__(self, chat: RoomOwner, name: str, backlog: int = BOUND, history: int = 0) -> None:
        super().__init__(name, chat.name, chat.session, backlog, history)
        self.wanted = 0  # joins that were not given up; the chat's lock guards it
        self._chat = chat

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
        """How many records of before joining are replayed at the start of `events`, each as a Message or Changed."""
        self.check_process()
        return self._replays

    @property
    def trouble(self) -> str | None:
        """Why posts made here wait, in a line: what the node said of the room log, or how the connection was lost.

        None if none waits, or nothing is known to be wrong. What waits is sent again until its time is over.
        """
        self.check_process()
        return self._chat.trouble(self.name)

    def say(
        self,
        text: str,
        timeout: float = 10.0,
        *,
        kind: str = SAID,
        ref: Message | int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Message:
        """Post a text and return it as it was logged, at most `timeout` seconds later.

        `kind` is `"action"` or `"notice"` for what is not plainly said; `ref` the message that this one answers, or its
        offset; `data` a map of at most 4 KiB for programs. Raises UsageError if they are wrong or the text is too long,
        NodeError if the node refused it or could not log it in that time, DeadlineError if no acknowledgement came,
        DisconnectedError if the chat was closed or the connection is lost for good: with these two it may have been
        logged all the same. A connection that is lost for a while raises nothing.
        """
        deadline = time.monotonic() + timeout
        future = self.post(text, timeout, kind=kind, ref=ref, data=data)
        if not is_done(future, deadline):
            self._chat.expire()
        if not is_done(future, time.monotonic() + _SETTLING):
            raise DeadlineError("what became of it is held up by another post's callback: it may have been logged")
        return future.result()

    def reply(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """Post an answer to a message, given as it is or by its offset; returns and raises as `say` does."""
        return self.say(text, timeout, ref=message)

    def edit(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """Give a message of one's own another text; return the record of that. Raises as `say` does."""
        return self.say(text, timeout, kind=EDIT, ref=message)

    def redact(self, message: Message | int, timeout: float = 10.0) -> Message:
        """Delete a message of one's own for good, or take back an edit or a reaction; return the record of that.

        Everybody is told, and the log keeps nothing of its text. Raises as `say` does.
        """
        return self.say(REDACTION, timeout, kind=REDACT, ref=message)

    def react(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """React to a message with an emoji or a word, at most 64 bytes; return the record of that.

        To take it back, `redact` that record. Raises as `say` does.
        """
        return self.say(text, timeout, kind=REACT, ref=message)

    def post(
        self,
        text: str,
        timeout: float = 10.0,
        *,
        kind: str = SAID,
        ref: Message | int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Future[Message]:
        """Post as `say` does without waiting for the acknowledgement; return the future logged record.

        The kinds `"edit"`, `"redact"` and `"react"` post what the methods of these names do. Posts of one chat are
        logged in the order in which they were made, unless the node could not log one for a moment: others that were
        on their way then may come before it. A post that was not acknowledged when the connection was lost is sent
        again, and logged once. Waits while 1000 of them are unacknowledged, or the node takes no more. Raises what
        `say` does, as far as it is known at once; the future raises the rest, `timeout` seconds after the call at the
        latest. Its callbacks run on the chat's own threads, so they must not wait for the chat.
        """
        self.check_process()
        with self._lock:
            self._check_here()
        return self._chat.post(self.name, text, timeout, kind, self._offset(ref), data or {})

    def _offset(self, ref: Message | int | None) -> int:
        if isinstance(ref, Message):
            if ref.room != self.name:
                raise UsageError(f"that message is in {ref.room}, not in {self.name}")
            return ref.offset
        return ref or 0

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

    def message(self, offset: int) -> Message | None:
        """Return the message at this offset as it is now, if it is among the last 1000 records of `events`."""
        self.check_process()
        with self._lock:
            return self._backlog.fold.message(offset)

    def recent(self) -> list[Message]:
        """Return the messages among the last 1000 records of `events`, without deleted ones, as they are now."""
        self.check_process()
        with self._lock:
            return self._backlog.fold.messages()

    def history(self, before: int | None = None, limit: int = 100, timeout: float = 10.0) -> list[Message]:
        """Return the last `limit` messages before this offset, oldest first; by default the newest there are.

        They are as they are now, as far as this room's events and the pages that were read before tell of changes;
        deleted ones are left out. They are fewer than `limit` only where no more are kept. Raises as `Chat.join` does,
        and UsageError for a number below 1.
        """
        deadline = time.monotonic() + timeout
        records: list[Message] = []
        messages: list[Message] = []
        epoch, asked = None, wire.History(self.name, wire.MAX_OFFSET if before is None else before, limit)
        while len(messages) < limit:
            with self._chat.one_of_few(deadline):
                page = self._page(asked, deadline)
            if epoch not in (None, page.epoch):
                break  # Offsets of before mean nothing in this one.
            epoch = page.epoch
            records[:0] = [Message.of(record, True, self._session) for record in page.messages]
            with self._lock:
                fold = self._backlog.fold if epoch == self._backlog.epoch else Fold()
                messages = fold.page(records)
            if page.after <= page.trimmed:
                break
            asked = wire.History(self.name, page.after + 1, max(limit - len(messages), _LEAST))
        return messages[-limit:]  # Another thread may have asked for more of the same.

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

    # --- for the chat, on the application's threads ------------------------------------------------------------

    def gone(self, timeout: float) -> None:
        """Wait until the room is left, or nobody is leaving it any more; raises as `leave` does."""
        with self._lock:
            parting = self._requests.parting
        if parting is not None:
            await_answer(parting, f"leaving {self.name}", timeout)

    def entered(self, timeout: float) -> None:
        """Wait until the room is joined; raises as `Chat.join` does."""
        await_answer(self._requests.entering, f"joining {self.name}", timeout)
