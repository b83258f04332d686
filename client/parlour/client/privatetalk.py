"""The private conversations of a person in a chat, the people whom the person ignores, and other news.

This module owns the thread that takes news; it joins the conversations that others open. It must never show the name
of such a room, which says nothing to people.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Protocol

from parlour.client.chat import Chat
from parlour.client.display import Lines, harmless
from parlour.client.errors import DeadlineError, DisconnectedError, NodeError
from parlour.client.events import Changed, Event, Message
from parlour.client.people_commands import unread_line
from parlour.client.room import Room
from parlour.runtime.threads import spawn
from parlour.wire.errors import ParlourError
from parlour.wire.limits import is_direct

__all__ = ["PrivateTalk", "Screen"]


MARKING = 1.0
"""Seconds between two looks for what was read."""


class Screen(Protocol):
    """The conversation on the terminal, as this module sees it."""

    def show(self, name: str, quiet: bool = False) -> Room:
        """Join a room and show its events, if `quiet` without old ones; return it."""
        ...

    def remark(self, text: str) -> None:
        """Show a remark of the program."""
        ...


class PrivateTalk:
    """The private conversations of one chat.

    Attributes:
        threads: those that were begun, for the caller to join once the chat is closed.
    """

    def __init__(self, screen: Screen, chat: Chat, lines: Lines) -> None:
        self.threads: list[threading.Thread] = []
        self._screen = screen
        self._chat = chat
        self._lines = lines
        self._ignored: frozenset[str] = frozenset()
        self._read: dict[str, int] = {}  # rooms and the offset up to which they are read; single operations are atomic
        self._marked: dict[str, int] = {}  # the same, as the node knows it
        self._unvisited: set[str] = set()  # rooms that were entered again, and not looked at since

    def begin(self) -> None:
        """Show what is new, open the conversations that are kept, and take news from now on.

        If the connection is lost meanwhile, the first two are done again when it is back.
        """
        rooms = self._open_kept()
        if rooms:
            self.threads.append(spawn(f"{self._chat.name}-enters", self.enter_rooms, rooms))
        self.threads.append(spawn(f"{self._chat.name}-news", self._take_news, rooms is None))

    def _open_kept(self) -> list[str] | None:
        """Show what is new, and open the kept conversations; return the account's rooms, None without a connection."""
        try:
            kept = self._chat.belongings()
            self._ignored = frozenset(kept["ignored"])
            for room, name in kept["conversations"].items():
                self._show(room, name)
            if self._chat.account:
                self._chat.whoami()  # so that the display name is known, by which others may call
                if line := unread_line(self._chat):
                    self._screen.remark(line)
        except NodeError as error:
            if error.code != "bad_version":  # an older node, which has no news either
                self._screen.remark(str(error))
            return []
        except (DeadlineError, DisconnectedError):
            return None
        rooms: list[str] = kept["rooms"]
        return rooms

    def open(self, name: str) -> Room:
        """Open the conversation with a person and return its room; raises as `Chat.direct`."""
        told = self._chat.ask("direct", {"name": name})
        return self._show(told["room"], told["name"])

    def enter_rooms(self, rooms: list[str]) -> None:
        """Enter these rooms of the account again, quietly, and tell which; leave out those where the chat is."""
        entered: list[str] = []
        for name in rooms:
            if self._chat.room(name) is not None:
                continue
            self._unvisited.add(name)
            try:
                self._screen.show(name, quiet=True)
                entered.append(harmless(name))
            except DisconnectedError:
                return  # the chat has ended
            except ParlourError as error:
                self._unvisited.discard(name)
                self._screen.remark(f"you are not in {harmless(name)} any more: {error}")
        if entered:
            self._screen.remark(f"you are also in {', '.join(entered)}: /join {entered[0]} goes there")

    def visit(self, name: str) -> bool:
        """Note that the person looks at a room; return whether that is the first time since it was entered again."""
        if name in self._unvisited:
            self._unvisited.discard(name)
            return True
        return False

    def lets_through(self, event: Event) -> bool:
        """Note that an event is read, and return whether to show it: the person may ignore its sender."""
        record = event.record if isinstance(event, Changed) else event
        if not isinstance(record, Message):
            return True
        if record.room not in self._unvisited:  # else it is not read although it is shown
            self._read[record.room] = record.offset
        return record.by not in self._ignored

    def _show(self, room: str, name: str) -> Room:
        self._lines.titles[room] = f"@{name}"
        return self._screen.show(room)

    def _take_news(self, behind: bool) -> None:
        """Take news until the chat ends; first, if it is `behind`, do what was not possible when it began."""
        while not self._chat.ended:
            if behind and (rooms := self._open_kept()) is not None:
                behind = False
                self.enter_rooms(rooms)
            for news in self._chat.news(timeout=MARKING):
                try:
                    self._handle(news.what, news.data)
                except (KeyError, ParlourError):
                    continue  # of another version, or the connection is lost: `belongings` tells it again
            self._mark()

    def _mark(self) -> None:
        """Tell the other devices of the account what is read here."""
        for room, offset in list(self._read.items()) if self._chat.account else ():
            if self._marked.get(room) != offset and not is_direct(room):
                with suppress(ParlourError):  # tried again with the next record
                    self._chat.mark(room, offset)
                    self._marked[room] = offset

    def _handle(self, what: str, data: dict[str, Any]) -> None:
        match what:
            case "direct":
                self._show(str(data["room"]), str(data["name"]))
            case "display":
                self._chat.display = str(data["display"])
            case "ignored":
                self._ignored = frozenset(data["names"])
            case "announcement":
                by = f"{harmless(str(data['by']))} (operator)" if data["by"] else "an operator"
                self._screen.remark(f"{by} to all: {harmless(str(data['text']))}")
