"""The memories of clients: what they posted and saw, which each process of clients writes to a file at the end.

This module owns the form of that file. It is pure. It must never hold a record once for each client that saw it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from parlour.chaos.records import Record, SentPost
from parlour.chaos.resumption import Heard
from parlour.chaos.view import Shown

__all__ = ["Memories", "Memory", "Recollection", "Tables"]


class Memory(msgspec.Struct, frozen=True):
    """The memory of one client of one room."""

    name: str
    room: str
    said: list[SentPost]
    records: bytes
    """The records that it saw, as places in the table of records, 4 bytes each."""
    times: bytes
    """When it saw each record, in seconds since the Unix epoch, 8 bytes each."""
    view: int | None
    """How the library shows the room at the end, as a place in the table of views; None without the library."""

    def heard(self, table: Sequence[Record]) -> Heard:
        """Return what the client saw."""
        return Heard([table[place] for place in array("I", self.records)], array("d", self.times))


class Tables:
    """The tables of one process, which hold each record and view once: its clients see the same ones."""

    def __init__(self) -> None:
        self._records: dict[Record, int] = {}
        self._views: list[Mapping[int, Shown]] = []

    def memory(
        self,
        name: str,
        room: str,
        said: Iterable[SentPost],
        records: Iterable[Record],
        times: array[float],
        view: Mapping[int, Shown] | None,
    ) -> Memory:
        """Return the memory of a client of a room, and put what it saw into the tables."""
        places = self._records
        numbers = array("I", (places.setdefault(record, len(places)) for record in records))
        if view is not None and view not in self._views:
            self._views.append(view)
        place = None if view is None else self._views.index(view)
        return Memory(name, room, list(said), numbers.tobytes(), times.tobytes(), place)

    def memories(self, memories: Iterable[Memory], returns: int, troubles: Iterable[str]) -> Memories:
        """Return everything that the clients remember, when all memories are made."""
        return Memories(list(memories), list(self._records), self._views, returns, list(troubles))


class Memories(msgspec.Struct, frozen=True):
    """Everything that the clients of one process remember."""

    memories: list[Memory]
    records: list[Record]
    views: list[Mapping[int, Shown]]
    returns: int
    """How often the clients came back after a loss, all together."""
    troubles: list[str]
    """What went wrong for the clients, a line each."""


class Recollection:
    """The memories of all processes together.

    Attributes:
        returns: how often clients came back after a loss, all together.
        troubles: what went wrong for clients, a line each.
    """

    def __init__(self, processes: Sequence[Memories]) -> None:
        self.returns = sum(process.returns for process in processes)
        self.troubles = [trouble for process in processes for trouble in process.troubles]
        self._said: dict[str, list[SentPost]] = {}
        self._heard: dict[str, dict[str, Heard]] = {}
        self._shown: dict[str, dict[str, Mapping[int, Shown]]] = {}
        for process in processes:
            for each in process.memories:
                self._said.setdefault(each.room, []).extend(each.said)
                self._heard.setdefault(each.name, {})[each.room] = each.heard(process.records)
                if each.view is not None:
                    self._shown.setdefault(each.room, {})[each.name] = process.views[each.view]

    def said(self, room: str) -> list[SentPost]:
        """Return the posts in a room; those of each client are in its order."""
        return self._said.get(room, [])

    def seen(self, room: str) -> dict[str, Sequence[Record]]:
        """Return what each member of a room saw."""
        return {name: rooms[room].records for name, rooms in self._heard.items() if room in rooms}

    def shown(self, room: str) -> Mapping[str, Mapping[int, Shown]]:
        """Return how the library shows a room at the end, for each member that uses it."""
        return self._shown.get(room, {})

    def heard(self) -> dict[str, list[Heard]]:
        """Return what each client saw in its rooms, and when."""
        return {name: list(rooms.values()) for name, rooms in self._heard.items()}
