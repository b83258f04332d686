"""The chat for a person: lines typed become posts and commands, what happens in the rooms becomes lines.

This module owns the rooms that are shown and which of them one speaks in. The program's main thread reads the
keyboard and obeys; one thread per room shows that room's events. Showing must never touch the input line, which is
why all of it goes to standard output as patched by the caller.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from datetime import date, datetime, timedelta

from parlour.client.chat import Chat
from parlour.client.commands import HELP, Command, Help, History, Join, Leave, Quit, Say, Who, parse
from parlour.client.display import Lines, harmless
from parlour.client.errors import DisconnectedError
from parlour.client.events import (
    Disconnected,
    Lagging,
    Message,
    Presence,
    Reconnected,
    Reconnecting,
    Restarted,
)
from parlour.client.keyboard import Keyboard
from parlour.client.room import Room
from parlour.client.waiting import Waiting
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["Conversation"]

HISTORY = 50
"""Messages shown from before one came."""

_ENDING = 10.0
"""Seconds that posts under way have to be acknowledged before one goes, and rooms to be shown to their end."""

_NOTICED = 1.0
"""Seconds that they have until it is said that one waits for them."""

SAYING = 600.0
"""Seconds for which a line that was typed is kept while there is no connection, before it is given back."""


class Conversation:
    """A person's chat on a terminal or a pipe; `run` is all of it."""

    def __init__(self, chat: Chat, keyboard: Keyboard, lines: Lines) -> None:
        self._chat = chat
        self._keyboard = keyboard
        self._lines = lines
        self._current: Room | None = None
        self._known: set[str] = set()  # rooms that one is in, or was
        self._showing: list[threading.Thread] = []
        self._oldest: dict[str, int] = {}  # offsets of the first messages shown of rooms
        self._waiting = Waiting()
        # Guards _day. Rank 62.
        self._turning = make_lock(62, "day")
        self._day = date.today()
        self._unsaid = 0  # how many of them are not, now that one goes
        self._lost: str | None = None
        self._failure: Exception | None = None  # why nothing can be shown any more

    def run(self, room: str, remark: str | None = None) -> None:
        """Show the remark, if any, enter the room and go on until the person leaves.

        Raises DisconnectedError if the connection is lost, OSError if nothing can be shown any more, ParlourError if
        something typed was not said, as far as is known.
        """
        self._show(self._lines.note(f"connected to {harmless(self._chat.node)} as {harmless(self._chat.name)}"))
        if remark is not None:
            self._show(self._lines.fault(remark))
        try:
            self._showing.append(spawn(f"{self._chat.name}-waits", self._show_waiting))
            self._enter(room)
            self._converse()
            self._await_posts()
        except KeyboardInterrupt:
            pass  # By who does not want to wait for an answer.
        finally:
            self._waiting.close()
            self._chat.close()
            join_all(self._showing, _ENDING)
        if self._failure is not None:
            raise self._failure
        if self._lost is not None:
            raise DisconnectedError(self._lost)
        if self._unsaid:
            raise ParlourError(f"{self._unsaid} of your lines, shown above, may not have been said: say them again")

    def _converse(self) -> None:
        while True:
            try:
                line = self._keyboard.read(self._prompt)
            except (EOFError, KeyboardInterrupt):
                return
            try:
                command = parse(line)
                if isinstance(command, Quit):
                    return
                if command is not None:
                    self._obey(command)
            except DisconnectedError as error:
                self._lost = self._lost or str(error)
                return
            except ParlourError as error:
                self._show(self._lines.fault(str(error)))

    def _prompt(self) -> str:
        return "\n".join([*self._waiting.shown(), f"{self._current.name if self._current else '(no room)'}> "])

    def rooms(self) -> list[str]:
        """Return the rooms that one is in, or was, for the Tab key."""
        return sorted(self._known)

    def people(self) -> list[str]:
        """Return who is in the current room, but for oneself, for the Tab key."""
        members = self._current.members if self._current is not None else []
        return [name for name in members if name != self._chat.name]

    def _obey(self, command: Command) -> None:
        if isinstance(command, Join | Leave | Who | History) and not self._chat.connected:
            self._show(self._lines.fault("there is no connection just now: ask again when it is back"))
        elif isinstance(command, Join):
            self._enter(command.room)
        elif isinstance(command, Help):
            self._show(HELP)
        elif isinstance(command, Leave):
            self._leave(command.room)
        elif self._current is None:
            self._show(self._lines.fault("you are in no room: /join one"))
        elif isinstance(command, Say):
            post = self._current.post(command.text, SAYING)
            self._waiting.add(post, self._current, command.text)
            post.add_done_callback(self._posted)
        elif isinstance(command, Who):
            names = self._current.who()
            self._show(self._lines.here(self._current.name, names, self._current.count))

        elif isinstance(command, History):
            self._show_history(self._current, command.limit)

    def _show_history(self, room: Room, limit: int) -> None:
        before = self._oldest.get(room.name)
        found = room.history(before, limit)
        if not found:
            self._show(self._lines.note(f"nothing older is kept of {harmless(room.name)}"))
            return
        self._oldest[room.name] = found[0].offset
        now = datetime.now()
        first = self._lines.note(f"from before, in {harmless(room.name)}:")
        last = self._lines.note("so far what was before")
        self._show("\n".join([first, *(self._lines.message(message, now) for message in found), last]))

    def _enter(self, name: str) -> None:
        known = {room.name for room in self._chat.rooms}
        room = self._chat.join(name, history=HISTORY)
        self._current = room
        self._known.add(room.name)
        if room.name not in known:
            self._oldest.pop(room.name, None)  # of when one was in it before
            self._show_alike(room, known)
            self._showing.append(spawn(f"{self._chat.name}-shows-{room.name}", self._show_room, room))

    def _show_alike(self, room: Room, known: set[str]) -> None:
        """Remark on a room that may have been entered for another, whose name differs in upper and lower case."""
        small = room.name.casefold()
        others = sorted(name for name in known if name.casefold() == small)
        if others:
            other = harmless(others[0])
            self._show(self._lines.note(f"{harmless(room.name)} is not {other}: upper and lower case differ"))
        elif room.name != small and not room.replays and room.count == 1:
            self._show(self._lines.note(f"{harmless(room.name)} is new; {harmless(small)} would be another room"))

    def _leave(self, name: str | None) -> None:
        left = name or (self._current.name if self._current else None)
        if left is None or left not in {room.name for room in self._chat.rooms}:
            self._show(self._lines.fault(f"you are not in {left}" if left else "you are in no room"))
            return
        self._await_posts()
        self._chat.leave(left)
        if self._current is not None and self._current.name == left:
            rooms = self._chat.rooms
            self._current = rooms[-1] if rooms else None
        self._show(self._lines.note(f"you left {left}"))

    def _await_posts(self) -> None:
        """Let what was said be seen before one goes."""
        # Who leaves while there is no connection does not want to wait for one.
        if not self._chat.connected:
            return
        _, waiting = wait_for(self._waiting.posts, _NOTICED)
        if waiting:
            self._show(self._lines.note(f"waiting for {len(waiting)} of your lines to be said; Ctrl-C leaves at once"))
            wait_for(waiting, _ENDING)

    def _posted(self, post: Future[Message]) -> None:
        """A post has come to its end; called by the reader thread, or by this one if it had already."""
        text = self._waiting.take(post)
        error = post.exception()
        if isinstance(error, DisconnectedError):
            self._unsaid += 1
            self._show(self._lines.fault(f"not said, as far as is known: {text}"))
        elif error is not None:
            self._show(self._lines.fault(f"not said: {text} ({error})"))
        self._keyboard.refresh()

    def _show_waiting(self) -> None:
        """The body of a thread: show which lines wait, as that changes."""
        try:
            self._show_waiting_lines()
        except Exception as error:
            self._fail(error)

    def _show_waiting_lines(self) -> None:
        while self._waiting.sleep(_until_midnight()):
            self._show("")  # but perhaps the day
            if not self._keyboard.refresh():
                for line in self._waiting.explained():
                    self._show(self._lines.note(line))

    def _show_room(self, room: Room) -> None:
        """The body of a room's thread: show what happened before, who is here, then what happens."""
        try:
            self._show_events(room)
        except Exception as error:
            self._fail(error)

    def _show_events(self, room: Room) -> None:
        replays = room.replays
        if not replays:
            self._show_members(room)
        for event in room.events():
            several = len(self._chat.rooms) > 1
            if isinstance(event, Message):
                self._oldest.setdefault(room.name, event.offset)
                bell = "\a" if not event.replay and self._lines.mentions(event) else ""
                self._show(bell + self._lines.message(event, datetime.now(), several))
                replays -= 1
                if replays == 0:
                    self._show_members(room)
            elif isinstance(event, Presence):
                self._show(self._lines.presence(event, several))
            elif isinstance(event, Lagging):
                self._show(self._lines.note("this terminal is slow: what follows is complete, but late"))
            elif isinstance(event, Restarted):
                self._oldest.pop(room.name, None)
                self._show(self._lines.note(f"{room.name} goes on from what is kept of it; some of it is gone"))
            elif isinstance(event, Reconnecting | Reconnected):
                self._show_connection(room, event)
            elif isinstance(event, Disconnected):
                self._lost = event.reason
                self._keyboard.interrupt()

    def _show_connection(self, room: Room, event: Reconnecting | Reconnected) -> None:
        # Every room is told, the person once: by the room that was entered first.
        if self._chat.rooms[:1] == [room]:
            if isinstance(event, Reconnecting):
                self._show(self._lines.note("connection lost, coming back"))
            else:
                self._show(self._lines.note(f"back, on {harmless(event.node)}"))

    def _show_members(self, room: Room) -> None:
        self._show(self._lines.here(room.name, room.members, room.count))

    def _new_day(self) -> str:
        """Return the line of the day, if it has begun since this was asked last, or nothing."""
        today = date.today()
        with self._turning:
            before, self._day = self._day, today
        return "" if today == before else self._lines.day(today) + "\n"

    def _show(self, line: str) -> None:
        # In one piece: two threads that print their lines in parts could mix them.
        try:
            sys.stdout.write(f"{self._new_day()}{line}\n" if line else self._new_day())
            sys.stdout.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Nothing can be shown any more: a chat that only seems to be there is worse than none."""
        self._failure = self._failure or error
        self._keyboard.interrupt()


def _until_midnight() -> float:
    """Return the seconds until the day is over."""
    now = datetime.now()
    return (datetime.combine(now + timedelta(days=1), datetime.min.time()) - now).total_seconds()
