"""The chat of a person: typed lines become posts and commands, events of the rooms become lines.

This module owns the rooms that are shown and which of them is the current one. The main thread reads the keyboard and
runs the commands; one thread per room shows that room's events. Output must never touch the input line, so all of it
goes to standard output, which the caller has patched.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from datetime import date, datetime, timedelta

from parlour.client.chat import Chat
from parlour.client.commands import (
    HELP,
    About,
    Command,
    Help,
    History,
    Join,
    Leave,
    Moderate,
    Msg,
    Numbers,
    Quit,
    Register,
    Rooms,
    Say,
    ShowState,
    Who,
    parse,
)
from parlour.client.display import Lines, harmless
from parlour.client.errors import DisconnectedError
from parlour.client.events import Disconnected, Message, Reconnected, Reconnecting
from parlour.client.keyboard import Keyboard
from parlour.client.pendinglines import PendingLines
from parlour.client.people_commands import PeopleCommand, room_lines, run_people_command, state_lines
from parlour.client.privatetalk import PrivateTalk
from parlour.client.room import Room
from parlour.client.roomview import RoomView
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.records import EDIT, REDACT, UTTERANCES

__all__ = ["Conversation"]

HISTORY = 50
"""Old messages shown when a room is entered."""

_ENDING = 10.0
"""Seconds to wait, when the person leaves, for the acknowledgements of posts and for the threads of the rooms."""

_NOTICED = 1.0
"""Seconds to wait for posts before the person is told about it."""

SAYING = 600.0
"""Seconds for which a typed line is kept while there is no connection, before it fails."""


class Conversation:
    """A person's chat on a terminal or a pipe; `run` runs it to its end."""

    def __init__(
        self, chat: Chat, keyboard: Keyboard, lines: Lines, keep: Callable[[Chat], object] = lambda _: None
    ) -> None:
        """Let a person talk in an open chat; `keep` makes this device known to an account that is made in it."""
        self._chat = chat
        self._keep = keep
        self._keyboard = keyboard
        self._lines = lines
        self._current: Room | None = None
        self._known: set[str] = set()  # names of rooms that the person is in, or was
        self._showing: list[threading.Thread] = []
        self._views: dict[Room, RoomView] = {}  # of rooms that the person is in, or was
        self._pending = PendingLines()
        self._private = PrivateTalk(self, chat, lines)
        # Guards _day. Rank 62.
        self._day_lock = make_lock(62, "day")
        self._day = date.today()
        self._unsent = 0  # posts whose outcome was not known when the chat ended
        self._lost: str | None = None
        self._failure: Exception | None = None  # why nothing can be shown any more

    def run(self, room: str, remark: str | None = None) -> None:
        """Show the remark, if any, enter the room and go on until the person leaves.

        Raises DisconnectedError if the connection is lost for good, OSError if nothing can be shown any more,
        ParlourError if typed lines may not have been said.
        """
        self._show(self._lines.note(f"connected to {harmless(self._chat.node)} as {harmless(self._chat.name)}"))
        if remark is not None:
            self._show(self._lines.error(remark))
        try:
            self._showing.append(spawn(f"{self._chat.name}-waits", self._show_waiting))
            self._enter(room)
            self._private.begin()
            self._read_lines()
            self._await_posts()
        except KeyboardInterrupt:
            pass  # The person does not want to wait for an answer.
        finally:
            self._pending.close()
            self._chat.close()
            join_all(self._private.threads, _ENDING)  # first, since they may begin to show rooms
            join_all(self._showing, _ENDING)
        if self._failure is not None:
            raise self._failure
        if self._lost is not None:
            raise DisconnectedError(self._lost)
        if self._unsent:
            raise ParlourError(f"{self._unsent} of your lines, shown above, may not have been sent: send them again")

    def _read_lines(self) -> None:
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
                    self._run_command(command, line)
            except DisconnectedError as error:
                self._lost = self._lost or str(error)
                return
            except ParlourError as error:
                self._show(self._lines.error(str(error)))

    def _prompt(self) -> str:
        return "\n".join(
            [*self._pending.shown(), f"{self._lines.title(self._current.name) if self._current else '(no room)'}> "]
        )

    def rooms(self) -> list[str]:
        """Return the names of rooms that the person is in, or was, for the Tab key."""
        return sorted(self._known)

    def people(self) -> list[str]:
        """Return the names of the other people in the current room, for the Tab key."""
        members = self._current.members if self._current is not None else []
        return [name for name in members if name != self._chat.name]

    def _run_command(self, command: Command, line: str) -> None:
        if isinstance(command, Join | Leave | Who | History | Numbers) and not self._chat.connected:
            self._show(self._lines.error("there is no connection now: try again when it is back"))
        elif isinstance(command, Join):
            self._enter(command.room)
        elif isinstance(command, Help):
            self._show(HELP)
        elif isinstance(command, Leave):
            self._leave(command.room)
        elif isinstance(command, Msg):
            self._talk_alone(command, line)
        elif isinstance(command, Rooms):
            self._show_all([self._lines.note(each) for each in room_lines(self._chat)])
        elif isinstance(command, PeopleCommand):
            self._show_all([self._lines.note(each) for each in run_people_command(self._chat, self._keyboard, command)])
            if isinstance(command, Register):
                self._keep(self._chat)
                self._private.enter_rooms(self._chat.belongings()["rooms"])
        elif self._current is None:
            self._show(self._lines.error("you are in no room: /join one"))
        elif isinstance(command, Say | About | Moderate):
            self._add_post(command, self._current, line)
        elif isinstance(command, ShowState):
            self._show_all([self._lines.note(line) for line in state_lines(self._current)])
        elif isinstance(command, Who):
            names = self._current.who()
            self._show(self._lines.here(self._current.name, names, self._current.count))
        elif isinstance(command, Numbers):
            self._show_numbers(self._current, command.limit)
        elif isinstance(command, History):
            self._show_history(self._current, command.limit)

    def _talk_alone(self, command: Msg, line: str) -> None:
        room = self._private.open(command.name)
        if command.text:
            self._add_post(Say(command.text), room, line)
        else:
            self._current = room

    def _add_post(self, command: Say | About | Moderate, room: Room, line: str) -> None:
        ref = (command.number or self._meant(room, command.kind)) if isinstance(command, About) else None
        data = command.data if isinstance(command, Moderate) else None
        post = room.post(command.text, SAYING, kind=command.kind, ref=ref, data=data)
        self._pending.add(post, room, line)
        post.add_done_callback(self._posted)

    def _meant(self, room: Room, kind: str) -> int:
        """Return the offset of the last message that a command of this kind can mean; raises UsageError."""
        own = kind in (EDIT, REDACT)
        if own and wait_for(self._pending.posts, _NOTICED).not_done:
            raise UsageError("your last line is still on its way: wait for it, or name a number (/numbers)")
        for message in reversed(room.recent()):
            if message.kind in UTTERANCES and (
                message.mine if own else not message.mine and message.by != self._chat.name
            ):
                return message.offset
        who = "you have said nothing" if own else "nobody else has said anything"
        raise UsageError(f"{who} here lately: name a message by its number (/numbers)")

    def _show_history(self, room: Room, limit: int) -> None:
        view = self._views[room]
        found = room.history(view.oldest, limit)
        if not found:
            self._show(self._lines.note(f"nothing older is kept of {self._lines.title(room.name)}"))
            return
        view.oldest = found[0].offset
        first = self._lines.note(f"older messages in {self._lines.title(room.name)}:")
        last = self._lines.note("end of the older messages")
        self._show("\n".join([first, *view.page(found), last]))

    def _show_numbers(self, room: Room, limit: int) -> None:
        lines = self._views[room].page(room.history(limit=limit), numbered=True)
        if not lines:
            self._show(self._lines.note(f"nothing is kept of {self._lines.title(room.name)}"))
            return
        first = self._lines.note(f"the last messages in {self._lines.title(room.name)}, with their numbers:")
        last = self._lines.note("for example: /reply #7 yes, /react #7 👍, /edit #7 text, /delete #7")
        self._show("\n".join([first, *lines, last]))

    def _enter(self, name: str) -> None:
        known = {room.name for room in self._chat.rooms}
        room = self.show(name)
        if room.name not in known:
            self._show_alike(room, known)
        self._go_to(room)

    def _go_to(self, room: Room) -> None:
        """Make a room the current one; at the first visit to one that was joined quietly, show what was said lately."""
        self._current = room
        if not self._private.visit(room.name):
            return
        view = self._views[room]
        found = [message for message in room.history(limit=HISTORY) if self._private.lets_through(message)]
        view.oldest = found[0].offset if found else None
        self._show_all([*view.page(found), *view.begin()])

    def show(self, name: str, quiet: bool = False) -> Room:
        """Join a room and show its events; return it. Any thread may call this.

        A room that is joined `quiet` shows only what comes from now on.
        """
        room = self._chat.join(name, history=0 if quiet else HISTORY)
        view = RoomView(room, self._lines)
        if self._views.setdefault(room, view) is view:  # else another thread has joined it just now
            self._known.add(room.name)
            self._showing.append(spawn(f"{self._chat.name}-shows-{room.name}", self._show_room, room, view, quiet))
        return room

    def remark(self, text: str) -> None:
        """Show a remark of the program. Any thread may call this."""
        self._show(self._lines.note(text))

    def _show_alike(self, room: Room, known: set[str]) -> None:
        """Show a remark if the person may have meant a room whose name differs only in upper and lower case."""
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
            self._show(self._lines.error(f"you are not in {left}" if left else "you are in no room"))
            return
        self._await_posts()
        self._chat.leave(left)
        self._show(self._lines.note(f"you left {left}"))
        if self._current is not None and self._current.name == left:
            self._current = None
            if rooms := self._chat.rooms:
                self._go_to(rooms[-1])

    def _await_posts(self) -> None:
        """Wait for posts under way, so that the person sees them before leaving."""
        # A person who leaves while there is no connection does not want to wait for one.
        if not self._chat.connected:
            return
        _, waiting = wait_for(self._pending.posts, _NOTICED)
        if waiting:
            self._show(self._lines.note(f"waiting for {len(waiting)} of your lines to be sent; Ctrl-C leaves at once"))
            wait_for(waiting, _ENDING)

    def _posted(self, post: Future[Message]) -> None:
        """Handle the outcome of a post; the reader thread calls this, or the main thread if it is known already."""
        line = self._pending.take(post)
        error = post.exception()
        if isinstance(error, DisconnectedError):
            self._unsent += 1
            self._show(self._lines.error(f"may not have been sent: {line}"))
        elif error is not None:
            self._show(self._lines.error(f"not sent: {line} ({error})"))
        self._keyboard.refresh()

    def _show_waiting(self) -> None:
        """Show the lines that wait whenever they change; the body of a thread."""
        try:
            self._show_waiting_lines()
        except Exception as error:
            self._fail(error)

    def _show_waiting_lines(self) -> None:
        while self._pending.sleep(_until_midnight()):
            self._show("")  # shows the line of a new day, if there is one
            if not self._keyboard.refresh():
                for line in self._pending.explained():
                    self._show(self._lines.note(line))

    def _show_room(self, room: Room, view: RoomView, quiet: bool) -> None:
        """Show old messages, the members, then each event; the body of the room's thread."""
        try:
            self._show_events(room, view, quiet)
        except Exception as error:
            self._fail(error)

    def _show_events(self, room: Room, view: RoomView, quiet: bool) -> None:
        if not quiet:
            self._show_all(view.begin())
        for event in room.events():
            if isinstance(event, Reconnecting | Reconnected):
                self._show_connection(room, event)
            elif isinstance(event, Disconnected):
                self._end_room(room, event.reason)
            elif self._private.lets_through(event):
                self._show_all(view.take(event, several=len(self._chat.rooms) > 1))

    def _end_room(self, room: Room, reason: str) -> None:
        """Show that a room is over for this person, or end the chat if all is over."""
        if self._chat.ended:
            self._lost = reason
            self._keyboard.interrupt()
            return
        if self._current is room:
            self._current = None
        self._show(self._lines.error(f"you are out of {self._lines.title(room.name)}: {reason}"))
        self._keyboard.refresh()

    def _show_connection(self, room: Room, event: Reconnecting | Reconnected) -> None:
        # Every room gets the event, but the person sees it once: from the room that was entered first.
        if self._chat.rooms[:1] == [room]:
            if isinstance(event, Reconnecting):
                self._show(self._lines.note("connection lost, coming back"))
            else:
                self._show(self._lines.note(f"back, on {harmless(event.node)}"))

    def _show_all(self, lines: list[str]) -> None:
        if lines:
            self._show("\n".join(lines))

    def _new_day(self) -> str:
        """Return the line of a new day if one has begun since the last call, else nothing."""
        today = date.today()
        with self._day_lock:
            before, self._day = self._day, today
        return "" if today == before else self._lines.day(today) + "\n"

    def _show(self, line: str) -> None:
        # One write, as two threads that write their lines in parts could mix them.
        try:
            sys.stdout.write(f"{self._new_day()}{line}\n" if line else self._new_day())
            sys.stdout.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End the chat because it cannot show anything any more, and would only seem to work."""
        self._failure = self._failure or error
        self._keyboard.interrupt()


def _until_midnight() -> float:
    """Return the seconds until midnight."""
    now = datetime.now()
    return (datetime.combine(now + timedelta(days=1), datetime.min.time()) - now).total_seconds()
