"""The journal of a SQLite room log: when it is carried over into the file, and how deleted texts leave both.

This module owns the checkpoint thread, which runs while there is something to do, on a connection of its own; the
caller of the methods holds the writer's lock. It must never have a post wait for the file.

What is deleted is at first still in the journal, in copies of the pages as they were before. So the transaction that
deletes also notes in the file, as `deleted`, that the journal must be emptied and the file be cleaned. Every node that
carries the journal over, or opens the file, sees to that; the note goes when it is done. A reader that does not end
holds it up, and nothing else.
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
"""Bytes in the journal after which it is carried over, about."""

COMMIT = 2 * 4096
"""Bytes of the journal that a commit takes besides its posts, about."""

ROW = 4096
"""Bytes of the journal that a row takes when it is forgotten, about: each session of a room has its own pages."""

LONG = 4000
"""Pages of 4 KiB in the journal at which it has to be begun anew."""

PATIENCE = 0.1
"""Seconds that beginning it anew may hold up commits while somebody reads."""

PAUSES = (0.0, 0.2, 1.0, 3.0, 6.0)
"""Seconds before each attempt to empty the journal while somebody reads; the next carrying over tries again."""

PAGES = 256
"""Pages that are looked through at once, in about a millisecond."""

REST = 9.0
"""How much longer than it took to look through some pages the thread rests after that."""


def connect(path: Path, sync: str, timeout: float) -> sqlite3.Connection:
    """Return a connection to the file, which waits so many seconds for other writers; raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, timeout=timeout, isolation_level=None, check_same_thread=False, uri=True)
    try:
        connection.execute(f"PRAGMA synchronous = {sync}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # posts need not wait for it: see Journal
        connection.execute("PRAGMA secure_delete = ON")  # most builds of SQLite leave what is deleted in the file
    except BaseException:
        connection.close()
        raise
    return connection


class Journal:
    """The journal of one file.

    Attributes:
        size: bytes that commits have put into it since it was last carried over, about.
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
        """Note in the transaction that it deletes a text; raises sqlite3.Error."""
        writer.execute("INSERT OR REPLACE INTO meta VALUES ('deleted', ?)", (secrets.token_hex(4),))
        self._deleted = True

    def grown(self, size: int) -> None:
        """So many bytes, about, were committed: have the journal carried over, if it is time."""
        self.size += size
        if self.size >= JOURNAL or self._deleted:
            self.carry_over()

    def carry_over(self) -> None:
        """Have the journal carried over, and what was deleted wiped."""
        with self._mutex, suppress(RuntimeError):  # no thread is to be had: tried again after the next commit
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
        """Bring what was committed from the journal into the file itself.

        On a thread of its own, with a connection of its own: done within a commit, as SQLite does by default, it held
        up one post in fifty for 5 ms and more, and all took a tenth longer. It fails without harm: the journal has all.
        """
        with suppress(sqlite3.Error, OSError), closing(connect(self._path, self._sync, PATIENCE)) as connection:
            (_, pages, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            while noted := connection.execute("SELECT value FROM meta WHERE key = 'deleted'").fetchone():
                if not self._wipe(connection, noted[0]):
                    return
            if pages > LONG:
                # Where commits never pause, SQLite does not begin anew by itself. Hardly anything is left to be done.
                connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def _wipe(self, connection: sqlite3.Connection, noted: str) -> bool:
        """Empty the journal, clean the pages that hold copies of rows, and take the note away; return whether it is."""
        stained: list[StainedPage] = []
        for pause in PAUSES:
            if self._closing.wait(pause):
                break
            # It fails while another program holds the file.
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
        """Carry the journal over and empty it; return whether nobody who reads has prevented that."""
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # so that little is left while posts wait
        (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not blocked

    def _all_pages(self, connection: sqlite3.Connection) -> Iterator[range]:
        """Yield all pages in parts, at leisure; in between carry the journal over if it is time, and end if told to."""
        for first in itertools.count(0, PAGES):
            begun = time.monotonic()
            yield range(first, first + PAGES)
            if self._closing.wait(REST * (time.monotonic() - begun)):
                return
            with self._mutex:
                asked, self._asked = self._asked, False
            if asked:
                self._emptied(connection)
