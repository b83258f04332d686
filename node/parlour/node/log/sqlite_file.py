"""The file of a SQLite room log: its schema, its identity and epoch, and the detection of a replaced or restored file.

This module owns all connections to the file; the caller holds the locks that guard `writer` and `reader`. It must never
continue with a file that was moved away or replaced, nor keep the epoch of a file that may have lost messages.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TypeVar

from parlour.node.log import LogError
from parlour.node.log.sqlite_journal import COMMIT, Journal, connect
from parlour.node.log.sqlite_pages import ROOM, RawFile
from parlour.runtime.folders import open_private
from parlour.runtime.sqlite_errors import describe_error
from parlour.wire.codec import Decoder
from parlour.wire.errors import ProtocolError

__all__ = ["SqliteFile"]

T = TypeVar("T")

BUSY = 5.0
"""Longest wait for the commit of another node, in seconds."""

READABLE, ENTERABLE = 0o044, 0o011
"""Mode bits of a file, and of each folder on its path, that let other users read the file."""

LOOK = 0.25
"""Seconds, about, between two checks whether to wait on for the commit of another node."""

TURN = 1.0
"""Longest wait for the turn to write, in seconds."""

KEEP = 0.03
"""Seconds for which a node may write after its turn without a new one; others may wait that much longer."""

PEEK = 0.001
"""Seconds between two checks whether the turn is free."""

MARK = 1.0
"""Seconds between two writes of the mark while messages are logged."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""A file whose content is new each time the machine starts."""

_APPLICATION = 0x70726C72  # "prlr" in the file's header, which tells a room log from other databases
_FORMAT = 3

_ADDED = (
    "CREATE INDEX IF NOT EXISTS spans ON runs (room, session, last) WHERE first IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS edits (room INTEGER, ref INTEGER, offset INTEGER, PRIMARY KEY (room, ref, offset))"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS states (room INTEGER PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL)",
)
"""What the files of older versions lack. Older versions still work with a file that has it: SQLite maintains the index,
and older versions log no edits and no state records."""

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY CHECK (id < {2**63 // ROOM}), name TEXT NOT NULL UNIQUE, indexed INTEGER NOT NULL
);
CREATE TABLE batches (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, posts BLOB NOT NULL);
CREATE TABLE runs (
    room INTEGER NOT NULL, session TEXT NOT NULL, last INTEGER NOT NULL, first INTEGER,
    after INTEGER NOT NULL, places BLOB NOT NULL, PRIMARY KEY (room, session, last)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
"""


class SqliteFile:
    """One file, open twice: `writer` and `reader`."""

    def __init__(self, path: Path, sync_full: bool) -> None:
        """Open the file, or make it; raises LogError."""
        self.identity = ""
        self.epoch = ""
        self._path = path
        self._mark = Path(f"{path}-mark")
        self._mark_due = 0.0
        self._sync = "FULL" if sync_full else "NORMAL"
        self._id = ""
        self.journal = Journal(path, self._sync)
        self._turn = -1  # descriptor of the mark; its advisory lock is the turn to write
        self._turn_due = 0.0  # until then (monotonic, seconds) the file may be written without the turn
        self.hasty = False
        """Whether to wait only a moment for locks of other programs: the file is about to be closed."""
        self._open()

    def replaced(self) -> bool:
        """Return whether another file stands at the path by now; raises LogError if none does."""
        try:
            return self._stat() != self._id
        except FileNotFoundError:
            raise LogError(f"the room log {self._path} is gone: put it back, nothing can be said without it") from None
        except OSError as error:
            raise self.explain(error) from None

    def remark(self) -> str:
        """Return a warning if other users of the machine can read the file, else ""."""
        readable = False
        for file in (self._path, Path(f"{self._path}-wal")):  # the newest messages may be in the journal alone
            with suppress(OSError):
                readable = readable or bool(file.stat().st_mode & READABLE)
        with suppress(OSError):
            if readable and all(folder.stat().st_mode & ENTERABLE for folder in self._path.absolute().parents):
                return (
                    f"other users of this machine can read the room log {self._path}: chmod 600 it, and {self._path}-*"
                )
        return ""

    def reopen(self) -> None:
        """Open the file that stands at the path now; raises LogError if it is another log."""
        self._disconnect()
        self._open()

    def begin(self) -> None:
        """Begin a transaction that writes. Nodes that wait for each other get the file in turn.

        SQLite has no queue: a node that commits without a pause would hold the lock whenever another node tries it. So
        a node first takes the turn, an advisory lock, and keeps it until it has the file; the node that wrote before
        must then wait for the turn. A node does not take the turn for every commit, as it costs two system calls.
        """
        began = time.monotonic()
        if began < self._turn_due and self._try_lock():
            return  # else another node writes now: who waits without the turn may wait for ever
        self._turn_due = began + KEEP
        while True:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if self.hasty or time.monotonic() >= began + TURN:
                    break  # a stopped node holds the turn; go on, only fairness depends on it
                time.sleep(PEEK)
        try:
            while not self._try_lock():
                if time.monotonic() >= began + BUSY:
                    raise sqlite3.OperationalError("database is locked")
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        """Begin the transaction, if no other program holds the file for all of a moment; return whether it began."""
        try:
            self.writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or self.hasty:
                raise
            return False
        return True

    def close(self) -> None:
        """Close both connections; raises StuckThreadError if a checkpoint hangs."""
        self.journal.close(BUSY)
        with suppress(sqlite3.Error, OSError):  # if this fails, the next start sees an unclean end, which is true
            self._count_mark()
            self.writer.execute("UPDATE meta SET value = CAST(value AS INTEGER) - 1 WHERE key = 'open'")
        self._disconnect()

    def decode(self, blob: bytes, decoder: Decoder[T]) -> T:
        """Return the posts of a batch; raises LogError if it is damaged."""
        try:
            return decoder(blob)
        except ProtocolError as error:
            raise LogError(f"the room log {self._path} is damaged ({error}): restore a backup of it") from None

    def explain(self, error: sqlite3.Error | OSError) -> LogError:
        """Return an error that says what to do, for an error of SQLite or of the system."""
        return LogError(describe_error(error, self._path, "room log"))

    # --- opening ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open both connections; raises LogError and then leaves none open."""
        path = self._path
        try:
            # For each of these SQLite would only say that it cannot open the file.
            if not path.parent.is_dir():
                raise LogError(f"cannot open the room log {path}: the folder {path.parent} does not exist")
            if path.exists() and not path.is_file():
                raise LogError(f"cannot open the room log {path}: it is no file; give --log the path of one")
            if not self._stands():
                # SQLite gives the journal the same mode.
                os.close(open_private(str(path), os.O_RDWR | os.O_CREAT))
            with ExitStack() as opened:
                self._raw = opened.enter_context(closing(RawFile(path)))
                self.writer = opened.enter_context(closing(connect(path, self._sync, BUSY)))
                self.reader = opened.enter_context(closing(connect(path, self._sync, BUSY)))
                opened.pop_all()
            try:
                self._prepare()
            except BaseException:
                self._disconnect()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self.explain(error) from None

    def _stands(self) -> bool:
        """Return whether the file exists; raises LogError if only the files that belong to it (-mark, -wal, -shm) do.

        A new file must not begin then: SQLite would remove the journal with the newest messages, while other nodes
        still have the old file open. If the old file came back, it would lack messages that were acknowledged.
        """
        # Look for these before the file itself: another node may be making all of them now, and makes the file first.
        rest = [str(path) for ending in ("-mark", "-wal", "-shm") if (path := Path(f"{self._path}{ending}")).exists()]
        if self._path.exists():
            return True
        if rest:
            raise LogError(
                f"the room log {self._path} is gone, but not what belongs to it: put it back, or remove "
                f"{' '.join(rest)} to begin another"
            )
        return False

    def _disconnect(self) -> None:
        self._id = ""  # so that `replaced` is true until the file is opened again
        self.reader.close()
        self.writer.close()
        self._raw.close()
        if self._turn >= 0:
            os.close(self._turn)
            self._turn = -1

    def _stat(self) -> str:
        stat = os.stat(self._path)
        return f"{stat.st_dev}:{stat.st_ino}"

    def _prepare(self) -> None:
        (tables,) = self.writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self.writer.execute("PRAGMA application_id").fetchone()
        (version,) = self.writer.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION:
            raise LogError(f"{self._path} is a database of another program: give --log another path")
        if tables and version != _FORMAT:
            age, advice = ("a newer", "upgrade this one") if version > _FORMAT else ("an older", "begin another")
            raise LogError(f"{self._path} was written by {age} parlour (format {version}): {advice}")
        self._enter_wal()
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            # Ask again now that no other node can write: two nodes may make the file at the same moment.
            (tables,) = self.writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in _SCHEMA.split(";"):
                    self.writer.execute(statement)
            for statement in _ADDED:
                self.writer.execute(statement)
            meta: dict[str, str] = dict(self.writer.execute("SELECT key, value FROM meta").fetchall())
            self._id = self._stat()
            if self.identity and meta.get("identity") != self.identity:
                raise LogError(f"another room log stands at {self._path}: put the old one back, or restart the nodes")
            boot = _BOOT.read_text().strip()
            rebooted = meta.get("boot") != boot
            unclean = rebooted and meta.get("open", "0") != "0" and self._sync != "FULL"
            if meta.get("file") != self._id or unclean or int(meta.get("mark", "0")) < self._read_mark():
                # The file is new, was copied or restored, or the machine stopped before it had written every commit.
                # The log could give out an offset a second time. A new epoch makes all old positions invalid.
                meta["identity"] = meta.get("identity") or secrets.token_hex(8)
                meta["epoch"] = secrets.token_hex(4)
                meta["file"] = self._id
            meta["mark"] = str(int(meta.get("mark", "0")) + 1)
            meta["boot"] = boot
            meta["open"] = str(1 if rebooted else int(meta["open"]) + 1)
            self.writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self.writer.execute("COMMIT")
            self._write_mark(meta["mark"])
        except BaseException:
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
            raise
        self.identity = meta["identity"]
        self.epoch = meta["epoch"]
        if "deleted" in meta:
            self.journal.carry_over()
        self._turn = os.open(self._mark, os.O_RDONLY | os.O_CLOEXEC)
        self.writer.execute(f"PRAGMA busy_timeout = {round(1000 * LOOK)}")

    def _enter_wal(self) -> None:
        """Switch the file to WAL, and wait for another node that does so: SQLite's own time-out does not apply here."""
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self.writer.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    # --- after a commit ---------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Write the mark and start a checkpoint, each if it is time; call this after each commit of messages."""
        if time.monotonic() >= self._mark_due:
            with suppress(sqlite3.Error, OSError):  # the next commit tries again
                self._count_mark()
        self.journal.grown(COMMIT)

    # --- the mark: a counter in the file, also written beside it, where a restored copy of the file cannot undo it ----

    def _read_mark(self) -> int:
        try:
            return int(self._mark.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _count_mark(self) -> None:
        ((mark,),) = self.writer.execute(
            "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'mark' RETURNING value"
        ).fetchall()
        self._write_mark(mark)

    def _write_mark(self, mark: str) -> None:
        with open(self._mark, "w", opener=open_private) as file:
            file.write(mark)
        self._mark_due = time.monotonic() + MARK
