"""The rooms of this node: made when the first member comes, dropped some time after the last one has left.

This module owns the table from name to room; any thread may call it. It must never hold its mutex while it opens a
room, because that asks the log and the other nodes.
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
"""Seconds for which a room without members stays: enough to tell the other nodes its last changes."""

OPENING = 15.0
"""Seconds to wait for another thread that opens the same room: more than a busy log may take."""


class _Entry:
    """A room, the number of members that hold it, and whether it is open."""

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
        """Return the room, or None if it is not on this node."""
        with self._mutex:
            entry = self._entries.get(name)
            return entry.room if entry is not None else None

    def count(self) -> int:
        """Return the number of rooms on this node."""
        with self._mutex:
            return len(self._entries)

    def occupied(self) -> dict[str, int]:
        """Return the rooms that have members on this node, with the number of people in each on all nodes."""
        with self._mutex:
            held = [entry.room for entry in self._entries.values() if entry.holders]
        return {room.name: len(room.names) for room in held}

    def hold(self, name: str) -> Room:
        """Return the open room and keep it until `release`; raises LogError if it cannot be opened."""
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
        """End the hold of one member, which has left the room."""
        with self._mutex:
            entry = self._entries[name]
            entry.holders -= 1
            if entry.holders:
                return
            if entry.opened.done() and entry.opened.exception() is not None:
                self._drop(name)
                return
        self._context.scheduler.after(IDLE, lambda: self._drop_if_idle(name, entry))

    def forget(self, node: str, instance: str) -> None:
        """Drop the members of a node that is gone for good from every room."""
        with self._mutex:
            rooms = [entry.room for entry in self._entries.values()]
        for room in rooms:
            room.forget(node, instance)

    def check_log(self) -> None:
        """Read the last offset of each room from the log, one after the other, until the log fails."""
        with self._mutex:
            rooms = [entry.room for entry in self._entries.values() if entry.opened.done()]
        with suppress(LogError):
            for room in rooms:
                room.check_log()

    def announcement(self, name: str) -> list[wire.RelayMessage]:
        """Return the publications for a node that begins to listen to a room, which need not be on this node."""
        # As in RoomPresence: above all versions of an earlier room of this name, and below those of a later one.
        version = time.monotonic_ns() // 1000
        room = self.get(name)
        if room is not None:
            return room.announcement()
        return [wire.PresenceSnapshot(self._context.node, self._context.instance, version, {})]

    def _open(self, name: str, entry: _Entry) -> None:
        self._context.relay.subscribe(wire.room_topic(name))
        try:
            entry.room.open(set(self._context.relay.peers()))
        except BaseException as error:
            entry.opened.set_exception(error)
        else:
            entry.opened.set_result(None)

    def _drop_if_idle(self, name: str, entry: _Entry) -> None:
        with self._mutex:
            if self._entries.get(name) is not entry or entry.holders:
                return
            if entry.room.empty:
                self._drop(name)
                return
        self._context.scheduler.after(IDLE, lambda: self._drop_if_idle(name, entry))

    def _drop(self, name: str) -> None:
        """Remove the room from the table. The caller holds the mutex."""
        del self._entries[name]
        self._context.relay.unsubscribe(wire.room_topic(name))
