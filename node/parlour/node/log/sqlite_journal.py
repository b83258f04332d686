"""The journal (WAL) of a SQLite room log: its checkpoints, and how deleted texts leave the journal and the file.

This module owns the checkpoint thread, which runs on demand and has a connection of its own; callers of the methods
hold the writer's lock. It must never make a post wait for the disk.

A deletion leaves the text in the journal at first, in copies of old pages. So the transaction also writes a note to the
file, `deleted`: the journal must be emptied and the file be cleaned. Every node that does a checkpoint or opens the
file does this, and then removes the note. Only a reader that does not end can delay it.
"""

from __future__ import annotations

import itertools
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from parlour.node.log.sqlite_pages import RawFile, StainedPage, clean, stained_pages
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn

__all__ = ["COMMIT", "JOURNAL", "LONG", "ROW", "Journal", "connect"]

JOURNAL = 4 * 1024 * 1024
"""Bytes in the journal, about, at which a checkpoint begins."""

COMMIT = 2 * 4096
"""Bytes that a commit adds to the journal besides its posts, about."""

ROW = 4096
"""Bytes that each forgotten row adds to the journal, about: each session of a room has its own pages."""

LONG = 4000
"""Pages of 4 KiB in the journal at which it is restarted from its beginning."""

PATIENCE = 0.1
"""Longest time, in seconds, that a restart of the journal may delay commits while somebody reads."""

PAUSES = (0.0, 0.2, 1.0, 3.0, 6.0)
"""Seconds before each attempt to empty the journal while somebody reads; after the last, the next checkpoint tries."""

PAGES = 256
"""Pages that are searched at once, in about a millisecond."""

REST = 9.0
"""The rest of the thread after each search, as a multiple of the time that the search took."""


def connect(path: Path, sync: str, timeout: float) -> sqlite3.Connection:
    """Return a connection to the file that waits `timeout` seconds for other writers; raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, timeout=timeout, isolation_level=None, check_same_thread=False, uri=True)
    try:
        connection.execute(f"PRAGMA synchronous = {sync}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # Journal does it, so that posts need not wait
        connection.execute("PRAGMA secure_delete = ON")  # most builds of SQLite leave deleted bytes in the file
    except BaseException:
        connection.close()
        raise
    return connection


class Journal:
    """The journal of one file.

    Attributes:
        size: bytes that commits have added since the last checkpoint, about.
    """

    def __init__(self, path: Path, sync: str) -> None:
        self.size = 0
        self._path = path
        self._sync = sync
        self._deleted = False
        self._closing = threading.Event()
        # Guards _asked and _thread. Rank 73.
        self._mutex = make_lock(73, "sqlite journal")
        self._asked = False
        self._thread: threading.Thread | None = None

    def note_deletion(self, writer: sqlite3.Connection) -> None:
        """Write the note that the transaction deletes a text; raises sqlite3.Error."""
        writer.execute("INSERT OR REPLACE INTO meta VALUES ('deleted', ?)", (secrets.token_hex(4),))
        self._deleted = True

    def grown(self, size: int) -> None:
        """Count `size` committed bytes (about), and start a checkpoint if it is time."""
        self.size += size
        if self.size >= JOURNAL or self._deleted:
            self.carry_over()

    def carry_over(self) -> None:
        """Start a checkpoint on its thread; it also wipes deleted texts."""
        with self._mutex, suppress(RuntimeError):  # the system has no thread left: the next commit tries again
            self._asked = True
            if self._thread is None:
                self._thread = spawn("sqlite-checkpoint", self._run)
            self.size, self._deleted = 0, False

    def close(self, timeout: float) -> None:
        """End the thread; raises StuckThreadError if that hangs."""
        self._closing.set()
        thread = self._thread
        if thread is not None:
            join_all([thread], timeout)

    # --- on the checkpoint thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._asked or self._closing.is_set():
                    self._thread = None
                    return
                self._asked = False
            self._carry_over()

    def _carry_over(self) -> None:
        """Do a checkpoint: copy the committed pages from the journal to the file.

        It has its own thread and connection, because SQLite's default, a checkpoint within a commit, delayed one post
        in fifty by 5 ms or more, and made all posts a tenth slower. A failure does no harm: the journal keeps the data.
        """
        with suppress(sqlite3.Error, OSError), closing(connect(self._path, self._sync, PATIENCE)) as connection:
            (_, pages, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            while noted := connection.execute("SELECT value FROM meta WHERE key = 'deleted'").fetchone():
                if not self._wipe(connection, noted[0]):
                    return
            if pages > LONG:
                # While commits never pause, SQLite does not restart the journal by itself. Few pages are left to copy.
                connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def _wipe(self, connection: sqlite3.Connection, noted: str) -> bool:
        """Empty the journal, clean the stained pages and remove the note; return whether the note is removed."""
        stained: list[StainedPage] = []
        for pause in PAUSES:
            if self._closing.wait(pause):
                break
            # This fails while another program holds a lock on the file.
            with suppress(sqlite3.OperationalError), closing(RawFile(self._path)) as file:
                if not self._emptied(connection):
                    continue
                again = [range(page.number, page.number + 1) for page in stained]
                stained = list(stained_pages(file, again or self._all_pages(connection)))
                for page in stained:
                    if self._closing.is_set():
                        return False
                    clean(connection, page)
                if not stained and not self._closing.is_set():
                    connection.execute("DELETE FROM meta WHERE key = 'deleted' AND value = ?", (noted,))
                    return True
        return False

    def _emptied(self, connection: sqlite3.Connection) -> bool:
        """Do a checkpoint and empty the journal; return False if a reader prevents that."""
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # first, so that the next step delays posts only briefly
        (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not blocked

    def _all_pages(self, connection: sqlite3.Connection) -> Iterator[range]:
        """Yield all pages in parts, with rests. In between, do a checkpoint if one is due, and end when closing."""
        for first in itertools.count(0, PAGES):
            begun = time.monotonic()
            yield range(first, first + PAGES)
            if self._closing.wait(REST * (time.monotonic() - begun)):
                return
            with self._mutex:
                asked, self._asked = self._asked, False
            if asked:
                self._emptied(connection)
