"""What clients remember of a round: kept in their processes, written to a file at the end, and looked at as one.

This module owns the form of that file. It is pure. It must never hold the same line once for each of those who saw it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import msgspec

from parlour.chaos.records import Post, Record
from parlour.chaos.resumption import Heard

__all__ = ["Memories", "Memory", "Recollection", "memory"]


class Memory(msgspec.Struct, frozen=True):
    """What one client remembers of one room."""

    name: str
    room: str
    said: list[Post]
    lines: bytes
    """The places of the lines that it saw in the record's table, 4 bytes each."""
    times: bytes
    """When it saw each, in seconds since the Unix epoch, 8 bytes each."""

    def heard(self, table: Sequence[Record]) -> Heard:
        """Return what it saw."""
        return Heard([table[place] for place in array("I", self.lines)], array("d", self.times))


class Memories(msgspec.Struct, frozen=True):
    """All that the clients of one process remember. They saw the same lines, in millions, so each is here once."""

    table: list[Record]
    memories: list[Memory]
    returns: int
    """How often they were connected again, all together."""
    troubles: list[str]
    """What went wrong for them, a line each."""


def memory(
    name: str, room: str, said: Iterable[Post], lines: Iterable[Record], times: array[float], places: dict[Record, int]
) -> Memory:
    """Return what a client remembers, for a record in whose table each line has its place in `places`."""
    numbers = array("I", (places.setdefault(line, len(places)) for line in lines))
    return Memory(name, room, list(said), numbers.tobytes(), times.tobytes())


class Recollection:
    """The records of all processes as one.

    Attributes:
        returns: how often clients were connected again, all together.
        troubles: what went wrong for clients, a line each.
    """

    def __init__(self, records: Sequence[Memories]) -> None:
        self.returns = sum(record.returns for record in records)
        self.troubles = [trouble for record in records for trouble in record.troubles]
        self._said: dict[str, list[Post]] = {}
        self._heard: dict[str, dict[str, Heard]] = {}
        for record in records:
            for each in record.memories:
                self._said.setdefault(each.room, []).extend(each.said)
                self._heard.setdefault(each.name, {})[each.room] = each.heard(record.table)

    def said(self, room: str) -> list[Post]:
        """Return what was said in a room, of each client in its order."""
        return self._said.get(room, [])

    def seen(self, room: str) -> dict[str, Sequence[Record]]:
        """Return what each member of a room saw."""
        return {name: rooms[room].lines for name, rooms in self._heard.items() if room in rooms}

    def heard(self) -> dict[str, list[Heard]]:
        """Return what each client saw in its rooms, and when."""
        return {name: list(rooms.values()) for name, rooms in self._heard.items()}
