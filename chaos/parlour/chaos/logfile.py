"""The SQLite file of a round's room log, which faults take away from the nodes for a while.

This module owns the ways to take the file away, and to look into it. One thread at a time uses it. It must never touch
a file that does not belong to the round.
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
"""Seconds to wait for the lock: nodes that commit all the time leave few gaps."""


class LogFile:
    """The SQLite file at a path; `url` names the room log in it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite://{quote(str(path))}"
        self._path = path

    def contents(self) -> bytes:
        """Return all bytes of the file and of the files beside it; raises ParlourError if that is not possible."""
        try:
            with closing(sqlite3.connect(self._path, timeout=TURN, isolation_level=None)) as connection:
                # This brings the journal into the file and empties it, as soon as nobody reads.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise ParlourError(f"the journal of the room log could not be carried over: {error}") from None
        return b"".join(file.read_bytes() for file in self._path.parent.glob(f"{self._path.name}*"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the file against writing, as another program might; raises ParlourError if that is not possible."""
        try:
            with closing(sqlite3.connect(self._path, timeout=TURN, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise ParlourError(f"the room log could not be locked: {error}") from None

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Move the file to another name, as a person might by mistake; raises OSError if that is not possible."""
        away = self._path.with_suffix(".away")
        self._path.rename(away)
        try:
            yield
        finally:
            away.rename(self._path)
