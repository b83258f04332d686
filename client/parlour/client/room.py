"""A room of a chat, as a program uses it: post, hear events, read old messages, list members.

This module owns the calls that the application's threads make and how they wait; `RoomState` keeps what the node
tells. It must never send anything while it holds the room's lock.
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
from parlour.client.fold import CHANGES, REDACTION, Fold
from parlour.client.moderation import Moderation
from parlour.client.requests import await_answer
from parlour.client.roomstate import RoomState
from parlour.client.waiting import LONG, is_done
from parlour.runtime.forks import ProcessBound
from parlour.wire import messages as wire
from parlour.wire import room_state as wire_state
from parlour.wire.errors import UsageError
from parlour.wire.records import EDIT, REACT, REDACT, SAID

__all__ = ["Room", "RoomOwner"]

_LEAST = 20
"""Fewest records to ask for in a further page of history."""

_SETTLING = 1.0
"""Seconds in which another thread must hand over the outcome of a post that is over."""


class RoomOwner(Protocol):
    """What a room needs of the chat that it belongs to."""

    name: str
    account: str
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

    def ask(self, what: str, data: Mapping[str, Any] | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Ask the node something; see `Chat.ask`."""
        ...

    def expire(self, given_up: Future[Message]) -> None:
        """Fail the post of this future, and those whose time is over."""
        ...

    def page_slot(self, deadline: float) -> AbstractContextManager[None]:
        """Wait until a page of history may be asked for; raises DeadlineError."""
        ...

    def rejoin(self, room: Room) -> None:
        """Fetch the messages that the room let go from the log."""
        ...

    def room_left(self, name: str) -> None:
        """Forget the room of this name, which the application left."""
        ...


class Room(ProcessBound, RoomState, Moderation):
    """A room of a chat, made by `Chat.join`. Several threads of one process may use it."""

    kind = "room"
    advice = "connect in this process, and join there"

    def __init__(self, chat: RoomOwner, name: str, backlog: int = BOUND, history: int = 0) -> None:
        super().__init__(name, chat.name, chat.session, backlog, history)
        self.wanted = 0  # calls of `Chat.join` that did not give up; the chat's lock guards it
        self._chat = chat

    def __repr__(self) -> str:
        return f"<Room {self.name!r}>"

    # --- for the application ----------------------------------------------------------------------------------

    @property
    def members(self) -> list[str]:
        """The names in the room, sorted; in a room of more than 200 some may be missing (`who` asks for all)."""
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
        """The number of names in the room."""
        self.check_process()
        with self._lock:
            return self._roster.count

    @property
    def replays(self) -> int:
        """The number of old records that `events` begins with, each as a Message or a Changed."""
        self.check_process()
        return self._replays

    @property
    def trouble(self) -> str | None:
        """The reason why posts to this room wait, in one line: the room log is away, or the connection is lost.

        None if no post waits, or nothing is known to be wrong. Posts that wait are sent again until their time is over.
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
        """Post a text and return the message as it was logged, at most `timeout` seconds later.

        `kind` may be `"action"` or `"notice"`. `ref` is the message that this one answers, or its offset. `data` is a
        map of at most 4 KiB for programs.

        Raises UsageError if an argument is wrong or the text is too long; NodeError if the node refused the post or
        could not log it in time; DeadlineError if no acknowledgement came; DisconnectedError if the chat was closed or
        the connection is lost for good. After the last two the post may have been logged all the same. A connection
        that is lost for a while raises nothing.
        """
        deadline = time.monotonic() + timeout
        future = self.post(text, timeout, kind=kind, ref=ref, data=data)
        if not is_done(future, deadline):
            self._chat.expire(future)
        if not is_done(future, time.monotonic() + _SETTLING):
            raise DeadlineError("the outcome is held up by the callback of another post: this may have been logged")
        return future.result()

    def ask(self, what: str, data: Mapping[str, Any], timeout: float = 10.0) -> dict[str, Any]:
        """Ask the node something about this room; see `Chat.ask`."""
        return self._chat.ask(what, data, timeout)

    @property
    def account(self) -> str:
        """The account of the chat; empty for a guest."""
        return self._chat.account

    def state(self) -> dict[str, Any]:
        """Ask the node for topic, settings, roles, bans and mutes, and the role of this chat; raises as `Chat.ask`."""
        self.check_process()
        with self._lock:
            joins = self._known.joins
        told = self.ask("state", {"room": self.name})
        with self._lock:
            self._known.answered(told, joins)
        return told

    def known_state(self) -> wire_state.RoomState:
        """Return the state by all records that came, without bans, mutes and invitations; raises as `Chat.ask`.

        If the connection is lost for now, it is the state of before.
        """
        self.check_process()
        while True:
            with self._lock:
                known, fresh = self._known.state, self._known.fresh
            if known is not None and fresh:
                return known
            try:
                self.state()
            except DisconnectedError:
                if known is None:
                    raise
                return known

    def reply(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """Answer a message, given as a Message or by its offset. Returns and raises as `say` does."""
        return self.say(text, timeout, ref=message)

    def edit(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """Give a message of this chat another text; return the record of the edit. Raises as `say` does."""
        return self.say(text, timeout, kind=EDIT, ref=message)

    def redact(self, message: Message | int, timeout: float = 10.0) -> Message:
        """Delete a message of this chat for good, or take back its edit or reaction; return the record of the deletion.

        Operators of the room can delete those of others, too, but not of people of their own rank or a higher one. All
        clients are told, and the log keeps nothing of the text. Raises as `say` does.
        """
        return self.say(REDACTION, timeout, kind=REDACT, ref=message)

    def react(self, message: Message | int, text: str, timeout: float = 10.0) -> Message:
        """React to a message with an emoji or a word of at most 64 bytes; return the record of the reaction.

        To take the reaction back, `redact` that record. Raises as `say` does.
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
        """Post as `say` does, but do not wait for the acknowledgement; return a future of the logged message.

        The kinds `"edit"`, `"redact"` and `"react"` post what the methods of these names post. The posts of one chat
        are logged in order. There is one exception: if the node could not log a post for a moment, posts that were on
        their way then may come before it. A post without an acknowledgement is sent again after the connection was
        lost, and is logged once.

        Waits while 1000 posts have no acknowledgement, or the node takes no more. Raises the errors of `say` that are
        known at once; the future raises the others, at most `timeout` seconds after the call. If the node tells the
        chat to slow down, the post is sent again at the time that the node names, and `timeout` counts from then. The
        future's callbacks run on the chat's own threads, so they must not wait for the chat.
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
        """Yield the events of the room in order, beginning with the first message replayed.

        Ends when nothing happened for `timeout` seconds (None: never for that reason), when the chat is closed or the
        room is left, and after Disconnected. If the connection is lost for a while, Reconnecting and Reconnected tell
        so; no message is missing or comes twice, and changes of the members come as one sum. An application that takes
        its events late misses none: messages beyond the room's backlog are fetched from the log again once the backlog
        was taken.
        """
        while (event := self._next(timeout)) is not None:
            yield event

    def who(self, timeout: float = 10.0) -> list[str]:
        """Ask the node for the names that are in the room now; return all of them, sorted. Raises as `Chat.join`."""
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
        """Return the last `limit` messages before this offset (by default the newest), oldest first.

        The messages are as they are now, as far as this room's events and earlier pages tell of changes; deleted
        messages are left out. They are fewer than `limit` only if the log keeps no more. Raises as `Chat.join` does,
        and UsageError for a number below 1.
        """
        deadline = time.monotonic() + timeout
        records: list[Message] = []
        messages: list[Message] = []
        epoch, asked = None, wire.History(self.name, wire.MAX_OFFSET if before is None else before, limit)
        missing, ended = limit, False
        while missing > 0 and not ended:
            with self._chat.page_slot(deadline):
                page = self._page(asked, deadline)
            # In another epoch the offsets from before mean nothing.
            ended = page.after <= page.trimmed or epoch not in (None, page.epoch)
            if epoch in (None, page.epoch):
                epoch = page.epoch
                found = [Message.of(record, True, self._session) for record in page.messages]
                records[:0] = found
                missing -= sum(record.kind not in CHANGES and not record.redacted for record in found)
            if missing <= 0 or ended:
                # Some of them may have been deleted since the page was made.
                with self._lock:
                    fold = self._backlog.fold if epoch == self._backlog.epoch else Fold()
                    messages = fold.page(records)
                missing = limit - len(messages)
            asked = wire.History(self.name, page.after + 1, max(missing, _LEAST))
        return messages[-limit:]  # Another thread may have asked for a longer page before the same offset.

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
            leaving = self._requests.leave()
        if not self._chat.request(wire.Leave(self.name)):
            self._chat.room_left(self.name)  # There is no connection: the room is not joined again, which is enough.
        await_answer(leaving, f"leaving {self.name}", timeout)

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
                # Before the deadline is checked, so that an application that only polls rejoins, too.
                rejoin = self._backlog.rejoin(now)
                if not rejoin:
                    if deadline is not None and now >= deadline:
                        return None
                    waits = (LONG, self._backlog.wait(now), None if deadline is None else deadline - now)
                    self._changed.wait(min(wait for wait in waits if wait is not None))
            if rejoin:
                self._chat.rejoin(self)

    # --- for the chat, on the application's threads ------------------------------------------------------------

    def await_left(self, timeout: float) -> None:
        """Wait until the room is left, if the application is leaving it; raises as `leave` does."""
        with self._lock:
            leaving = self._requests.leaving
        if leaving is not None:
            await_answer(leaving, f"leaving {self.name}", timeout)

    def await_joined(self, timeout: float) -> None:
        """Wait until the room is joined; raises as `Chat.join` does."""
        await_answer(self._requests.joining, f"joining {self.name}", timeout)
