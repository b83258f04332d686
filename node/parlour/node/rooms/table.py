"""The rooms of this node: made when the first member comes, dropped some time after the last has left.

This module owns the table from name to room; any thread may call it. It must never hold its mutex while a room is
opened: that asks the log and the other nodes.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress

from parlour.node.log import LogError
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.room import Room
from parlour.runtime.locks import make_lock
from parlour.wire import relay as wire

__all__ = ["RoomTable"]

IDLE = 5.0
"""Seconds that a room without members is kept: long enough for its last words to be told to the other nodes."""

OPENING = 15.0
"""Seconds to wait for another thread that is opening the same room: more than a busy log may take."""


class _Entry:
    """A room, how many members hold it, and whether it is open."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.holders = 0
        self.opened: Future[None] = Future()


class RoomTable:
    """All rooms that have members on this node."""

    def __init__(self, context: RoomContext) -> None:
        self._context = context
        # Guards _entries and their holders. Rank 10.
        self._mutex = make_lock(10, "room table")
        self._entries: dict[str, _Entry] = {}

    def get(self, name: str) -> Room | None:
        """Return the room if it is on this node."""
        with self._mutex:
            entry = self._entries.get(name)
            return entry.room if entry is not None else None

    def count(self) -> int:
        """Return how many rooms are on this node."""
        with self._mutex:
            return len(self._entries)

    def hold(self, name: str) -> Room:
        """Return the room, opened, and keep it until `release`; raises LogError if it cannot be opened."""
        with self._mutex:
            entry = self._entries.get(name)
            mine = entry is None
            if entry is None:
                entry = self._entries[name] = _Entry(Room(name, self._context))
            entry.holders += 1
        try:
            if mine:
                self._open(name, entry)
            try:
                entry.opened.result(OPENING)
            except TimeoutError:
                raise LogError(f"the room {name} could not be opened in time: try again") from None
        except BaseException:
            self.release(name)
            raise
        return entry.room

    def release(self, name: str) -> None:
        """A member that held the room has left it."""
        with self._mutex:
            entry = self._entries[name]
            entry.holders -= 1
            if entry.holders:
                return
            if entry.opened.done() and entry.opened.exception() is not None:
                self._drop(name)
                return
        self._context.scheduler.after(IDLE, lambda: self._tidy(name, entry))

    def forget(self, node: str, instance: str) -> None:
        """A node is gone for good: its members leave every room."""
        with self._mutex:
            rooms = [entry.room for entry in self._entries.values()]
        for room in rooms:
            room.forget(node, instance)

    def look(self) -> None:
        """Read from the log where each room stands, one after the other, until the log fails."""
        with self._mutex:
            rooms = [entry.room for entry in self._entries.values() if entry.opened.done()]
        with suppress(LogError):
            for room in rooms:
                room.look()

    def announcement(self, name: str) -> list[wire.RelayMessage]:
        """Return what a node that begins to listen to a room has to know, also of a room that is not here."""
        # As in Room: above all that was told of an earlier room of this name, and below one that is made only now.
        version = time.monotonic_ns() // 1000
        room = self.get(name)
        if room is not None:
            return room.announcement()
        return [wire.Here(self._context.node, self._context.instance, version, {})]

    def _open(self, name: str, entry: _Entry) -> None:
        self._context.relay.subscribe(wire.room_topic(name))
        try:
            entry.room.open(set(self._context.relay.peers()))
        except BaseException as error:
            entry.opened.set_exception(error)
        else:
            entry.opened.set_result(None)

    def _tidy(self, name: str, entry: _Entry) -> None:
        with self._mutex:
            if self._entries.get(name) is not entry or entry.holders:
                return
            if entry.room.empty:
                self._drop(name)
                return
        self._context.scheduler.after(IDLE, lambda: self._tidy(name, entry))

    def _drop(self, name: str) -> None:
        """Take the room off the table. The caller holds the mutex."""
        del self._entries[name]
        self._context.relay.unsubscribe(wire.room_topic(name))
