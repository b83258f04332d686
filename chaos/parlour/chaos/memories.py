"""What clients remember of a round: kept in their processes, written to a file at the end, and looked at as one.

This module owns the form of that file. It is pure. It must never hold what many clients saw alike more than once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from parlour.chaos.records import Post, Record
from parlour.chaos.resumption import Heard
from parlour.chaos.view import Shown

__all__ = ["Memories", "Memory", "Recollection", "Tables"]


class Memory(msgspec.Struct, frozen=True):
    """What one client remembers of one room."""

    name: str
    room: str
    said: list[Post]
    records: bytes
    """The places of the records that it saw in the table, 4 bytes each."""
    times: bytes
    """When it saw each, in seconds since the Unix epoch, 8 bytes each."""
    view: int | None
    """The place in the table of views of what the library shows at the end; None if it does not use the library."""

    def heard(self, table: Sequence[Record]) -> Heard:
        """Return what it saw."""
        return Heard([table[place] for place in array("I", self.records)], array("d", self.times))


class Tables:
    """What the clients of a process saw, each record and view once: they saw the same ones, in millions."""

    def __init__(self) -> None:
        self._records: dict[Record, int] = {}
        self._views: list[Mapping[int, Shown]] = []

    def memory(
        self,
        name: str,
        room: str,
        said: Iterable[Post],
        records: Iterable[Record],
        times: array[float],
        view: Mapping[int, Shown] | None,
    ) -> Memory:
        """Return what a client remembers of a room."""
        places = self._records
        numbers = array("I", (places.setdefault(record, len(places)) for record in records))
        if view is not None and view not in self._views:
            self._views.append(view)
        place = None if view is None else self._views.index(view)
        return Memory(name, room, list(said), numbers.tobytes(), times.tobytes(), place)

    def memories(self, memories: Iterable[Memory], returns: int, troubles: Iterable[str]) -> Memories:
        """Return all that the clients remember, once all their memories are made."""
        return Memories(list(memories), list(self._records), self._views, returns, list(troubles))


class Memories(msgspec.Struct, frozen=True):
    """All that the clients of one process remember."""

    memories: list[Memory]
    records: list[Record]
    views: list[Mapping[int, Shown]]
    returns: int
    """How often the clients were connected again, all together."""
    troubles: list[str]
    """What went wrong for them, a line each."""


class Recollection:
    """The memories of all processes as one.

    Attributes:
        returns: how often clients were connected again, all together.
        troubles: what went wrong for clients, a line each.
    """

    def __init__(self, processes: Sequence[Memories]) -> None:
        self.returns = sum(process.returns for process in processes)
        self.troubles = [trouble for process in processes for trouble in process.troubles]
        self._said: dict[str, list[Post]] = {}
        self._heard: dict[str, dict[str, Heard]] = {}
        self._shown: dict[str, dict[str, Mapping[int, Shown]]] = {}
        for process in processes:
            for each in process.memories:
                self._said.setdefault(each.room, []).extend(each.said)
                self._heard.setdefault(each.name, {})[each.room] = each.heard(process.records)
                if each.view is not None:
                    self._shown.setdefault(each.room, {})[each.name] = process.views[each.view]

    def said(self, room: str) -> list[Post]:
        """Return what was posted in a room, of each client in its order."""
        return self._said.get(room, [])

    def seen(self, room: str) -> dict[str, Sequence[Record]]:
        """Return what each member of a room saw."""
        return {name: rooms[room].records for name, rooms in self._heard.items() if room in rooms}

    def shown(self, room: str) -> Mapping[str, Mapping[int, Shown]]:
        """Return what the library shows of a room at the end, to each member that uses it."""
        return self._shown.get(room, {})

    def heard(self) -> dict[str, list[Heard]]:
        """Return what each client saw in its rooms, and when."""
        return {name: list(rooms.values()) for name, rooms in self._heard.items()}
