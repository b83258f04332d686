"""The rooms' states in a SQLite room log: a document for each room, and the version that appends are checked against.

This module owns the table `states`; the caller is within a write transaction. It must never ask the file for a version:
`sqlite_index.py` reads it together with the end of the room, after another node has written.
"""

from __future__ import annotations

from parlour.node.log import StaleStateError, StateVersion
from parlour.node.log.sqlite_file import SqliteFile
from parlour.node.log.sqlite_index import Tail

__all__ = ["STATE", "StateTable"]

STATE = "SELECT version, state FROM rooms JOIN states ON room = id WHERE name = ?"
"""The query for a room's version and document by its name; no row if the room has no state."""


class StateTable:
    """The states of all rooms."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def stale(self, tail: Tail) -> StaleStateError:
        """Return the error for posts that were judged by another state than the room has now."""
        found = self._file.writer.execute("SELECT state FROM states WHERE room = ?", (tail.room,)).fetchone()
        return StaleStateError(StateVersion(self._file.epoch, tail.state), found[0] if found else b"")

    def change(self, tail: Tail, version: int, state: bytes) -> None:
        """Store the document of a new version."""
        self._file.writer.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (tail.room, version, state))
        self._file.journal.size += len(state)
        tail.state = version
