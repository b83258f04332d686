"""A room log in one SQLite file, shared by all nodes of a machine: WAL, one writer connection per node.

This module owns what is read and written; any thread may call it. Appends of several rooms that wait at the same time
become one transaction. It must never leave a transaction open.

A row for each message, and another in an index of posts, would take most of a node's time. So a batch of posts is one
row, and what each session said in it is one row of `runs`: the first and last of its ids there. As ids count up, those
of a later run are higher, and that nothing of a new run was logged before is seen by looking at the last one. Only
where it may have been, which is rare, each post is looked up; each that is new gets a run of its own, without `first`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from parlour.node.log import Appended, Extent, LogError, Post
from parlour.node.log.sqlite_file import SqliteFile
from parlour.runtime.locks import make_lock
from parlour.wire.codec import Decoder, encode
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Message

__all__ = ["SqliteLog"]

T = TypeVar("T")

_decode: Decoder[list[Post]] = Decoder(list[Post])


class _Job:
    """One caller's posts, waiting for the transaction that logs them."""

    __slots__ = ("appended", "error", "posts", "room")

    def __init__(self, room: str, posts: Sequence[Post]) -> None:
        self.room = room
        self.posts = posts
        self.appended: list[Appended] | None = None
        self.error: LogError | None = None


class _KnownError(Exception):
    """Some of the posts may have been logged before."""


class SqliteLog:
    """The engine behind `sqlite:///PATH`."""

    def __init__(self, path: Path, sync_full: bool = False) -> None:
        """Open the file, making it if there is none; raises LogError if that cannot be."""
        # Guards _waiting. Rank 72.
        self._mutex = make_lock(72, "sqlite log's queue")
        # Guards the file's writer, _rooms and _closed. Rank 60.
        self._writing = make_lock(60, "sqlite log's writer")
        # Guards the file's reader. Rank 64.
        self._reading = make_lock(64, "sqlite log's reader")
        self._waiting: list[_Job] = []
        self._rooms: dict[str, int] = {}
        self._closed = False
        self._path = path
        self._file = SqliteFile(path, sync_full)

    # --- the contract -----------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The log's name, which is in the file."""
        return self._file.identity

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
        query = (
            "SELECT first, posts FROM batches WHERE room = (SELECT id FROM rooms WHERE name = ?) AND last > ?"
            " ORDER BY last LIMIT ?"
        )
        found: list[Message] = []
        with self._reading:
            try:
                # Row by row: how many messages are in one is seen when it is there.
                with closing(self._file.reader.execute(query, (room, after, limit))) as rows:
                    for first, blob in rows:
                        found += [
                            Message(room, offset, f"{post.session}-{post.id}", post.by, post.at, post.text)
                            for offset, post in enumerate(self._posts(blob), first)
                            if offset > after
                        ]
                        if len(found) >= limit:
                            break
            except sqlite3.Error as error:
                raise self._file.explain(error) from None
        return found[:limit]

    def extent(self, room: str) -> Extent:
        """Return what is kept of the room; see `RoomLog.extent`."""
        with self._writing:
            self._check_file()
        rows = self._select(
            "SELECT value, top, (SELECT first FROM batches WHERE room = r.id ORDER BY last LIMIT 1)"
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
        with self._writing:
            self._check_file()
            try:
                return self._in_transaction(lambda: self._trim(room, keep, before, limit)) == limit
            except sqlite3.Error as error:
                raise self._file.explain(error) from None

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._closed = True
            self._file.close()

    # --- writing; the caller holds _writing -------------------------------------------------------------------------

    def _commit(self, jobs: list[_Job]) -> None:
        """Log all jobs in one transaction, or fail all with one error."""
        try:
            self._check_file()
            results = None
            with suppress(_KnownError):
                results = self._in_transaction(lambda: [self._log(job) for job in jobs])
            if results is None:
                results = self._in_transaction(lambda: [self._log_unknown(job) for job in jobs])
        except (sqlite3.Error, OSError, LogError) as error:
            failure = error if isinstance(error, LogError) else self._file.explain(error)
            for job in jobs:
                job.error = failure
            return
        for job, appended in zip(jobs, results, strict=True):
            job.appended = appended
        self._file.committed()

    def _in_transaction(self, work: Callable[[], T]) -> T:
        writer = self._file.writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            writer.execute("COMMIT")
        except BaseException:
            self._rooms.clear()  # a room made in this transaction is gone with it
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return result

    def _log(self, job: _Job) -> list[Appended]:
        """Log posts that were never logged before; raises _KnownError where that is not plain."""
        runs: dict[str, list[int]] = {}
        for post in job.posts:
            run = runs.get(post.session)
            if run is None:
                runs[post.session] = [post.id, post.id]
            elif post.id > run[1]:
                run[1] = post.id
            else:
                raise _KnownError
        room = self._room(job.room)
        first = self._insert(room, job.posts)
        last = first + len(job.posts) - 1
        inserted = self._file.writer.executemany(
            "INSERT INTO runs SELECT ?, ?, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM runs WHERE room = ? AND session = ? AND last >= ?)",
            [(room, session, high, low, last, room, session, low) for session, (low, high) in runs.items()],
        )
        if inserted.rowcount < len(runs):
            raise _KnownError
        epoch = self._file.epoch
        return [Appended(epoch, offset, post.at, False) for offset, post in enumerate(job.posts, first)]

    def _log_unknown(self, job: _Job) -> list[Appended]:
        """Log those of the posts that were not logged before."""
        room = self._room(job.room)
        batches: dict[int, dict[tuple[str, int], Appended]] = {}
        known: dict[tuple[str, int], Appended] = {}
        fresh: dict[tuple[str, int], Post] = {}
        for post in job.posts:
            place = self._find(room, post, batches)
            if place is not None:
                known[post.session, post.id] = place
            else:
                # Of two copies the first is logged: it is the one that will be delivered.
                fresh.setdefault((post.session, post.id), post)
        offset = 0
        if fresh:
            offset = self._insert(room, list(fresh.values()))
            last = offset + len(fresh) - 1
            self._file.writer.executemany(
                "INSERT INTO runs VALUES (?, ?, ?, NULL, ?)",
                [(room, session, number, last) for session, number in fresh],
            )
        appended: list[Appended] = []
        for post in job.posts:
            key = (post.session, post.id)
            if key in known:
                appended.append(known[key])
            else:
                appended.append(Appended(self._file.epoch, offset, post.at, False))
                known[key] = Appended(self._file.epoch, offset, post.at, True)
                offset += 1
        return appended

    def _find(self, room: int, wanted: Post, batches: dict[int, dict[tuple[str, int], Appended]]) -> Appended | None:
        """Return where a post was logged, if it was; `batches` keeps those that were read for the ones after it."""
        query = "SELECT last, first, batch FROM runs WHERE room = ? AND session = ? AND last >= ? ORDER BY last"
        with closing(self._file.writer.execute(query, (room, wanted.session, wanted.id))) as rows:
            for last, first, batch in rows:
                if first is not None and first > wanted.id:
                    break
                if first is not None or last == wanted.id:
                    if batch not in batches:
                        batches[batch] = self._places(room, batch)
                    return batches[batch].get((wanted.session, wanted.id))
        return None

    def _places(self, room: int, batch: int) -> dict[tuple[str, int], Appended]:
        """Return where the posts of a batch stand, as duplicates are answered."""
        first, blob = self._file.writer.execute(
            "SELECT first, posts FROM batches WHERE room = ? AND last = ?", (room, batch)
        ).fetchone()
        return {
            (post.session, post.id): Appended(self._file.epoch, offset, post.at, True)
            for offset, post in enumerate(self._posts(blob), first)
        }

    def _insert(self, room: int, posts: Sequence[Post]) -> int:
        """Write a batch; return the offset of its first message."""
        ((top,),) = self._file.writer.execute(
            "UPDATE rooms SET top = top + ? WHERE id = ? RETURNING top", (len(posts), room)
        ).fetchall()
        first: int = top - len(posts) + 1
        self._file.writer.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", (room, top, first, encode(posts)))
        return first

    def _room(self, name: str) -> int:
        room = self._rooms.get(name)
        if room is None:
            self._file.writer.execute("INSERT OR IGNORE INTO rooms (name, top) VALUES (?, 0)", (name,))
            ((room,),) = self._file.writer.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchall()
            self._rooms[name] = room
        return room

    def _trim(self, name: str, keep: int, before: int, limit: int) -> int:
        """Forget at most `limit` messages; return how many there were to be forgotten."""
        writer, count = self._file.writer, 0
        while count < limit:
            row = writer.execute(
                "SELECT room, last, first, posts, top FROM batches JOIN rooms ON id = room"
                " WHERE name = ? ORDER BY last LIMIT 1",
                (name,),
            ).fetchone()
            if row is None:
                break
            room, last, first, blob, top = row
            posts = self._posts(blob)
            most = max(0, min(limit - count, top - keep - first + 1))
            old = list(takewhile(lambda post: post.at < before, posts[:most]))
            count += len(old)
            writer.executemany(
                # A run whose last post goes is gone with it; of another, the rest is still known.
                "DELETE FROM runs WHERE room = ? AND session = ? AND last = ?",
                [(room, post.session, post.id) for post in old],
            )
            if len(old) < len(posts):
                if old:
                    writer.execute(
                        "UPDATE batches SET first = ?, posts = ? WHERE room = ? AND last = ?",
                        (first + len(old), encode(posts[len(old) :]), room, last),
                    )
                break
            writer.execute("DELETE FROM batches WHERE room = ? AND last = ?", (room, last))
        return count

    # --- the file ---------------------------------------------------------------------------------------------

    def _posts(self, blob: bytes) -> list[Post]:
        try:
            return _decode(blob)
        except ProtocolError as error:
            raise LogError(f"the room log {self._path} is damaged ({error}): restore a backup of it") from None

    def _select(self, query: str, arguments: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._reading:
            try:
                return self._file.reader.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise self._file.explain(error) from None

    def _check_file(self) -> None:
        """See whether the file is still the one that was opened; another is opened. The caller holds _writing."""
        if self._closed:
            raise LogError("the room log is closed: the node is stopping")
        if self._file.replaced():
            with self._reading:
                self._rooms.clear()
                self._file.reopen()
