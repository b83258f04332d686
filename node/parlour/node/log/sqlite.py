"""A room log in one SQLite file, shared by all nodes of a machine: WAL, one writer connection per node.

This module owns the file's schema and both connections to it; any thread may call it. Appends of several rooms
that wait at the same time become one transaction. It must never leave a transaction open, nor go on with a file
that was moved away or replaced under it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from parlour.node.log import Appended, Extent, LogError, Post
from parlour.runtime.locks import make_lock
from parlour.wire.messages import Message

__all__ = ["SqliteLog"]

BUSY = 5.0
"""How long to wait for another node's commit, in seconds."""

MARK = 1.0
"""Seconds between two writings of the mark, while messages come."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""A word that is new each time the machine starts."""

_APPLICATION = 0x70726C72  # "prlr", in the file's header: a file of another program is not touched

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, top INTEGER NOT NULL);
CREATE TABLE messages (
    room INTEGER NOT NULL, offset INTEGER NOT NULL, session TEXT NOT NULL, id INTEGER NOT NULL,
    sender TEXT NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (room, offset)
) WITHOUT ROWID;
CREATE UNIQUE INDEX posts ON messages (room, session, id);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = 1;
"""


class _Job:
    """One caller's posts, waiting for the transaction that logs them."""

    __slots__ = ("appended", "error", "posts", "room")

    def __init__(self, room: str, posts: Sequence[Post]) -> None:
        self.room = room
        self.posts = posts
        self.appended: list[Appended] | None = None
        self.error: LogError | None = None


class SqliteLog:
    """The engine behind `sqlite:///PATH`."""

    def __init__(self, path: Path, sync_full: bool = False) -> None:
        """Open the file, making it if there is none; raises LogError if that cannot be."""
        self._path = path
        self._mark = Path(f"{path}-mark")
        self._mark_due = 0.0
        self._sync = "FULL" if sync_full else "NORMAL"
        # Guards _waiting. Rank 72.
        self._mutex = make_lock(72, "sqlite log's queue")
        # Guards the writer's connection, _rooms, _file, _epoch and _mark_due. Rank 60.
        self._writing = make_lock(60, "sqlite log's writer")
        # Guards the reader's connection. Rank 64.
        self._reading = make_lock(64, "sqlite log's reader")
        self._waiting: list[_Job] = []
        self._rooms: dict[str, int] = {}
        self._file = ""
        self._closed = False
        self.identity = ""
        if not path.parent.is_dir():
            raise LogError(f"cannot open the room log {path}: the folder {path.parent} does not exist")
        self._open()

    # --- the contract -----------------------------------------------------------------------------------------

    def append(self, room: str, posts: Sequence[Post]) -> list[Appended]:
        """Log the posts; see `RoomLog.append`. Whoever gets the writer first commits for all who wait."""
        job = _Job(room, posts)
        with self._mutex:
            self._waiting.append(job)
        with self._writing:
            if job.appended is None and job.error is None:
                with self._mutex:
                    jobs, self._waiting = self._waiting, []
                self._commit(jobs)
        if job.appended is None:
            raise job.error or LogError("the room log did not take the post")
        return job.appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        rows = self._select(
            "SELECT offset, session, m.id, sender, at, text FROM messages m JOIN rooms r ON m.room = r.id"
            " WHERE r.name = ? AND offset > ? ORDER BY offset LIMIT ?",
            (room, after, limit),
        )
        return [
            Message(room, offset, f"{session}-{number}", sender, at, text)
            for offset, session, number, sender, at, text in rows
        ]

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; see `RoomLog.extent`."""
        with self._writing:
            self._check_file()
        rows = self._select(
            "SELECT value, top, (SELECT min(offset) FROM messages WHERE room = r.id)"
            " FROM meta LEFT JOIN rooms r ON name = ? WHERE key = 'epoch'",
            (room,),
        )
        if not rows:
            raise LogError(f"the room log {self._path} is damaged: it has no epoch")
        epoch, top, first = rows[0]
        return Extent(epoch, (top or 0) if first is None else first - 1, top or 0)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`."""
        rows = self._select("SELECT name FROM rooms WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
        return [name for (name,) in rows]

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages; see `RoomLog.trim`."""
        rows = self._select(
            "SELECT r.id, offset, at FROM messages m JOIN rooms r ON m.room = r.id"
            " WHERE name = ? AND offset <= top - ? ORDER BY offset LIMIT ?",
            (room, keep, limit),
        )
        old = list(takewhile(lambda row: row[2] < before, rows))
        if old:
            number, last, _ = old[-1]
            try:
                with self._writing:
                    self._check_file()
                    self._writer.execute("DELETE FROM messages WHERE room = ? AND offset <= ?", (number, last))
            except (sqlite3.Error, OSError) as error:
                raise self._explain(error) from None
        return len(old) == limit

    def close(self) -> None:
        """Close both connections."""
        with self._writing, self._reading:
            self._closed = True
            with suppress(sqlite3.Error, OSError):  # else the next start takes this for an unclean end, which it was
                self._write_mark()
                self._writer.execute("UPDATE meta SET value = CAST(value AS INTEGER) - 1 WHERE key = 'open'")
            self._disconnect()

    # --- writing ----------------------------------------------------------------------------------------------

    def _commit(self, jobs: list[_Job]) -> None:
        """Log all jobs in one transaction, or fail all with one error. The caller holds _writing."""
        try:
            self._check_file()
            try:
                results = self._transact(jobs, careful=False)
            except sqlite3.IntegrityError:
                # Some post was logged before: look each one up, which the usual case need not pay for.
                results = self._transact(jobs, careful=True)
        except (sqlite3.Error, OSError, LogError) as error:
            failure = error if isinstance(error, LogError) else self._explain(error)
            for job in jobs:
                job.error = failure
            return
        for job, appended in zip(jobs, results, strict=True):
            job.appended = appended
        if time.monotonic() >= self._mark_due:
            with suppress(sqlite3.Error, OSError):  # tried again after the next commit
                self._write_mark()

    def _transact(self, jobs: list[_Job], careful: bool) -> list[list[Appended]]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            results = [self._insert(job, careful) for job in jobs]
            self._writer.execute("COMMIT")
        except BaseException:
            self._rooms.clear()  # a room made in this transaction is gone with it
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return results

    def _insert(self, job: _Job, careful: bool) -> list[Appended]:
        room = self._room(job.room)
        known: dict[tuple[str, int], Appended] = {}
        if careful:
            for post in job.posts:
                for offset, at in self._writer.execute(
                    "SELECT offset, at FROM messages WHERE room = ? AND session = ? AND id = ?",
                    (room, post.session, post.id),
                ):
                    known[post.session, post.id] = Appended(self._epoch, offset, at, True)
        fresh: dict[tuple[str, int], Post] = {}
        for post in job.posts:
            if (post.session, post.id) not in known:
                # Of two copies the first is logged: it is the one that will be delivered.
                fresh.setdefault((post.session, post.id), post)
        if not careful and len(fresh) < len(job.posts):
            raise sqlite3.IntegrityError("a post stands twice in one batch")
        offset = 0
        if fresh:
            ((top,),) = self._writer.execute(
                "UPDATE rooms SET top = top + ? WHERE id = ? RETURNING top", (len(fresh), room)
            ).fetchall()
            offset = first = top - len(fresh) + 1
            self._writer.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(room, first + i, p.session, p.id, p.by, p.at, p.text) for i, p in enumerate(fresh.values())],
            )
        appended: list[Appended] = []
        for post in job.posts:
            key = (post.session, post.id)
            if key in known:
                appended.append(known[key])
            else:
                appended.append(Appended(self._epoch, offset, post.at, False))
                known[key] = Appended(self._epoch, offset, post.at, True)
                offset += 1
        return appended

    def _room(self, name: str) -> int:
        room = self._rooms.get(name)
        if room is None:
            self._writer.execute("INSERT OR IGNORE INTO rooms (name, top) VALUES (?, 0)", (name,))
            ((room,),) = self._writer.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchall()
            self._rooms[name] = room
        return room

    # --- reading ----------------------------------------------------------------------------------------------

    def _select(self, query: str, arguments: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._reading:
            try:
                return self._reader.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise self._explain(error) from None

    # --- the file ---------------------------------------------------------------------------------------------

    def _stat(self) -> str:
        stat = os.stat(self._path)
        return f"{stat.st_dev}:{stat.st_ino}"

    def _check_file(self) -> None:
        """See whether the file is still the one that was opened; another is opened. The caller holds _writing."""
        if self._closed:
            raise LogError("the room log is closed: the node is stopping")
        try:
            file = self._stat()
        except FileNotFoundError:
            raise LogError(f"the room log {self._path} is gone: put it back, nothing can be said without it") from None
        if file != self._file:
            with self._reading:
                self._disconnect()
                self._open()

    def _disconnect(self) -> None:
        self._file = ""  # whatever stands there next has to be opened anew
        self._reader.close()
        self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {self._sync}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> None:
        """Open both connections; raises LogError, with none left open."""
        try:
            self._writer = self._connect()
            try:
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise
            try:
                self._prepare()
            except BaseException:
                self._disconnect()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from None

    def _prepare(self) -> None:
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._writer.execute("PRAGMA application_id").fetchone()
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION:
            raise LogError(f"{self._path} is a database of another program: give --log another path")
        if tables and version != 1:
            raise LogError(f"{self._path} was written by a newer parlour (format {version}): upgrade this one")
        self._enter_wal()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            # Asked again now that nobody else can write: two nodes may make the file at the same moment.
            (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in _SCHEMA.split(";"):
                    self._writer.execute(statement)
            meta: dict[str, str] = dict(self._writer.execute("SELECT key, value FROM meta").fetchall())
            self._file = self._stat()
            if self.identity and meta.get("identity") != self.identity:
                raise LogError(f"another room log stands at {self._path}: put the old one back, or restart the nodes")
            boot = _BOOT.read_text().strip()
            rebooted = meta.get("boot") != boot
            unclean = rebooted and meta.get("open", "0") != "0" and self._sync != "FULL"
            if meta.get("file") != self._file or unclean or self._total() < self._read_mark():
                # The file is new, was copied or restored, or the machine stopped without writing all that was
                # committed: offsets that were given out could be given out again, so that positions of before must
                # not be taken for positions in this one.
                meta["identity"] = meta.get("identity") or secrets.token_hex(8)
                meta["epoch"] = secrets.token_hex(4)
                meta["file"] = self._file
            meta["boot"] = boot
            meta["open"] = str(1 if rebooted else int(meta["open"]) + 1)
            self._writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self._writer.execute("COMMIT")
            self._write_mark()
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        self.identity = meta["identity"]
        self._epoch = meta["epoch"]
        self._rooms.clear()

    # --- the mark: how many messages the file held, written beside it, where a copy put back cannot undo it ----------

    def _total(self) -> int:
        (total,) = self._writer.execute("SELECT coalesce(sum(top), 0) FROM rooms").fetchone()
        return int(total)

    def _read_mark(self) -> int:
        try:
            return int(self._mark.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _write_mark(self) -> None:
        self._mark.write_text(str(self._total()))
        self._mark_due = time.monotonic() + MARK

    def _enter_wal(self) -> None:
        """Switch the file to WAL, waiting for another node that does so: SQLite's own time-out is not kept here."""
        deadline = time.monotonic() + BUSY
        while True:
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    def _explain(self, error: sqlite3.Error | OSError) -> LogError:
        """Return the error that a person can act upon, for what SQLite or the system said."""
        text = str(error)
        if "not a database" in text:
            advice = "it is not a room log; give --log another path"
        elif "unable to open" in text or "readonly" in text:
            advice = f"it cannot be written; check the permissions of it and of {self._path.parent}"
        elif "full" in text or "I/O error" in text:
            advice = "the disk is full or failing; make room"
        elif "locked" in text:
            advice = "another program holds it; try again"
        else:
            advice = "check the file and its disk"
        return LogError(f"the room log {self._path} failed ({text}): {advice}")
