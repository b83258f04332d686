"""The file of a round's room log, which may be taken away from the nodes for a while, and given back as it was.

This module owns the ways in which a file is away; the thread of a fault uses it, one at a time. It must never touch a
file that is not of the round.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from parlour.wire.errors import ParlourError

__all__ = ["LogFile"]

TURN = 60.0
"""Seconds to wait for the lock: nodes that commit again and again leave little room for others."""


class LogFile:
    """The SQLite file at a path; `url` is that of the room log in it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite://{quote(str(path))}"
        self._path = path

    def contents(self) -> bytes:
        """Return all that is in the file and its journal; raises ParlourError if that cannot be."""
        try:
            with closing(sqlite3.connect(self._path, timeout=TURN, isolation_level=None)) as connection:
                # Until nobody reads: then the journal is empty, and what it held is in the file.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise ParlourError(f"the journal of the room log could not be carried over: {error}") from None
        return b"".join(file.read_bytes() for file in self._path.parent.glob(f"{self._path.name}*"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no node write to it, as another program would that holds it; raises ParlourError if that cannot be."""
        try:
            with closing(sqlite3.connect(self._path, timeout=TURN, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise ParlourError(f"the room log could not be locked: {error}") from None

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Let another place have it, as after a slip of a person's hand; raises OSError if that cannot be."""
        away = self._path.with_suffix(".away")
        self._path.rename(away)
        try:
            yield
        finally:
            away.rename(self._path)
