"""A room log in one SQLite file, shared by all nodes of a machine: WAL, one writer connection per node.

This module owns the reads and writes of messages; any thread may call it. Appends that wait at the same time become one
transaction. It must never leave a transaction open.

A row for each message and another in an index of posts would take most of a node's time. So a batch of posts is one
row, and a small commit writes nothing else: `sqlite_index.py` describes how duplicates are recognized.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from parlour.node.log import (
    AHEAD,
    Appended,
    Extent,
    LogError,
    Post,
    RichPost,
    StaleStateError,
    StateVersion,
    kinds_of,
    old_enough,
    settled_times,
)
from parlour.node.log.sqlite_deletion import RAW, Deletion, parts
from parlour.node.log.sqlite_file import SqliteFile
from parlour.node.log.sqlite_index import POSTS, PostIndex, Tail
from parlour.node.log.sqlite_journal import ROW
from parlour.node.log.sqlite_pages import ROOM
from parlour.node.log.sqlite_state import STATE, StateTable
from parlour.runtime.locks import make_lock
from parlour.wire.codec import encode
from parlour.wire.limits import MAX_TIME, sane_time
from parlour.wire.messages import Message
from parlour.wire.records import EDIT, REACT, REDACT

__all__ = ["SqliteLog"]

T = TypeVar("T")

HOLD = 0.05
"""Seconds after which a transaction takes no more posts, so that other nodes get their turn."""

_ABOUT_OTHERS = frozenset({EDIT, REACT, REDACT})
_OF_ROOM = f"b.id > r.id * {ROOM} AND b.id < (r.id + 1) * {ROOM}"


class _Job:
    """One caller's posts, which wait for the transaction that logs them."""

    __slots__ = ("appended", "checked", "error", "posts", "room", "state")

    def __init__(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> None:
        self.room = room
        self.posts = posts
        self.checked = checked
        self.state = state
        self.appended: list[Appended] | None = None
        self.error: LogError | StaleStateError | None = None


class SqliteLog:
    """The engine behind `sqlite:///PATH`."""

    def __init__(self, path: Path, sync_full: bool = False) -> None:
        """Open the file, or make it; raises LogError."""
        # Guards _waiting. Rank 72.
        self._mutex = make_lock(72, "sqlite log's queue")
        # Guards the file's writer, _index and _closed. Rank 60.
        self._writing = make_lock(60, "sqlite log's writer")
        # Guards the file's reader. Rank 64.
        self._reading = make_lock(64, "sqlite log's reader")
        self._waiting: list[_Job] = []
        self._closed = False
        self._path = path
        self._file = SqliteFile(path, sync_full)
        self._index = PostIndex(self._file)
        self._deletion = Deletion(self._file)
        self._states = StateTable(self._file)

    # --- the contract -----------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The log's name, which is stored in the file."""
        return self._file.identity

    def now(self) -> int:
        """Return this machine's time: all nodes that share the file run here; see `RoomLog.now`."""
        return time.time_ns() // 1_000_000

    def check(self) -> None:
        """Read a row of the file; see `RoomLog.check`."""
        # This avoids the writer's lock, which may take long to get. The next append opens a file that was replaced.
        self._file.replaced()
        self._select("SELECT value FROM meta WHERE key = 'epoch'", ())

    @property
    def remark(self) -> str:
        """A warning if other users can read the file; see `RoomLog.remark`."""
        return self._file.remark()

    def append(
        self, room: str, posts: Sequence[Post], checked: StateVersion | None = None, state: bytes = b""
    ) -> list[Appended]:
        """Log the posts; see `RoomLog.append`. The first thread to get the writer commits all waiting posts."""
        if checked is not None and not posts:
            self._check(room, checked)
            return []
        job = _Job(room, posts, checked, state)
        with self._mutex:
            self._waiting.append(job)
        with self._writing:
            if job.appended is None and job.error is None:
                with self._mutex:
                    jobs, self._waiting = self._waiting, []
                while jobs:
                    del jobs[: self._commit(jobs)]
        if job.appended is None:
            raise job.error or LogError("the room log did not take the post")
        return job.appended

    def read(self, room: str, after: int, limit: int) -> list[Message]:
        """Return messages after an offset; see `RoomLog.read`."""
        query = (
            "SELECT first, posts FROM rooms r JOIN batches b"
            f" ON b.id > r.id * {ROOM} + ? AND b.id < (r.id + 1) * {ROOM} WHERE name = ? ORDER BY b.id LIMIT ?"
        )
        found: list[Message] = []
        with self._reading:
            try:
                # Row by row: the number of messages in a row is known only once it is read.
                with closing(self._file.reader.execute(query, (after, room, limit))) as rows:
                    for first, blob in rows:
                        posts = self._file.decode(blob, POSTS)
                        if first <= after:
                            posts, first = posts[after + 1 - first :], after + 1
                        found += [
                            Message(
                                room,
                                offset,
                                f"{post.session}-{post.id}",
                                post.by,
                                at if 0 <= (at := post.at) <= MAX_TIME else sane_time(at),
                                post.text,
                                post.kind,
                                post.ref,
                                post.account,
                                post.data,
                            )
                            for offset, post in enumerate(posts, first)
                        ]
                        if len(found) >= limit:
                            break
            except sqlite3.Error as error:
                raise self._file.explain(error) from None
        return found[:limit]

    def extent(self, room: str) -> Extent:
        """Return which offsets the room keeps; see `RoomLog.extent`."""
        with self._writing:
            self._check_file()
        rows = self._select(
            f"SELECT value, indexed, (SELECT first FROM batches b WHERE {_OF_ROOM} ORDER BY b.id LIMIT 1),"
            f" (SELECT max(b.id) FROM batches b WHERE {_OF_ROOM})"
            " FROM meta LEFT JOIN rooms r ON name = ? WHERE key = 'epoch'",
            (room,),
        )
        if not rows:
            raise LogError(f"the room log {self._path} is damaged: it has no epoch")
        epoch, indexed, first, newest = rows[0]
        if newest is None:
            return Extent(epoch, indexed or 0, indexed or 0)
        return Extent(epoch, first - 1, newest % ROOM)

    def state(self, room: str) -> tuple[int, bytes]:
        """Return the room's state; see `RoomLog.state`."""
        with self._writing:
            self._check_file()
        rows = self._select(STATE, (room,))
        return rows[0] if rows else (0, b"")

    def _check(self, room: str, checked: StateVersion) -> None:
        """Raise StaleStateError if the room has another state. This only reads: it takes no turn to write."""
        version, state = self.state(room)
        if checked != (self._file.epoch, version):
            raise StaleStateError(StateVersion(self._file.epoch, version), state)

    def rooms(self, after: str, limit: int) -> list[str]:
        """Return names of rooms; see `RoomLog.rooms`."""
        rows = self._select("SELECT name FROM rooms WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
        return [name for (name,) in rows]

    def trim(self, room: str, keep: int, before: int, limit: int) -> bool:
        """Forget the oldest messages; see `RoomLog.trim`."""
        with self._writing:
            self._check_file()
            writer = self._file.writer
            changes = writer.total_changes
            try:
                count = self._in_transaction(lambda: self._trim(room, keep, before, limit))
            except sqlite3.Error as error:
                raise self._file.explain(error) from None
            # Appends start checkpoints as well, but the next append may be far away.
            self._file.journal.grown(ROW * (writer.total_changes - changes))
        return count == limit

    def hasten(self) -> None:
        """From now on wait only a moment for other programs; see `RoomLog.hasten`."""
        self._file.hasty = True

    def close(self) -> None:
        """Close the file."""
        self.hasten()
        with self._writing, self._reading:
            self._closed = True
            self._file.close()

    # --- writing; the caller holds _writing -------------------------------------------------------------------------

    def _commit(self, jobs: list[_Job]) -> int:
        """Log the first jobs in one transaction, or fail all jobs with one error; return the number of jobs done.

        A transaction that takes long ends early, so that other nodes get their turn.
        """
        try:
            self._check_file()
            results = self._in_transaction(lambda: self._log_some(jobs))
        except (sqlite3.Error, OSError, LogError) as error:
            failure = error if isinstance(error, LogError) else self._file.explain(error)
            for job in jobs:
                job.error = failure
            return len(jobs)
        for job, result in zip(jobs, results, strict=False):
            if isinstance(result, StaleStateError):
                job.error = result
            else:
                job.appended = result
        self._file.committed()
        return len(results)

    def _log_some(self, jobs: list[_Job]) -> list[list[Appended] | StaleStateError]:
        until = time.monotonic() + HOLD
        results: list[list[Appended] | StaleStateError] = []
        for job in jobs:
            results.append(self._log(job))
            if time.monotonic() >= until:
                break
        return results

    def _in_transaction(self, work: Callable[[], T]) -> T:
        writer = self._file.writer
        self._file.begin()
        try:
            self._index.begin()
            result = work()
            writer.execute("COMMIT")
        except BaseException:
            self._index.forget()  # it describes the transaction that is rolled back
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return result

    def _log(self, job: _Job) -> list[Appended] | StaleStateError:
        """Log the posts that are neither duplicates nor refused; log none if they were judged by another state."""
        tail = self._index.tail(job.room)
        if job.checked is not None and job.checked != (self._file.epoch, tail.state):
            return self._states.stale(tail)
        if not job.state and _ABOUT_OTHERS.isdisjoint(kinds_of(job.posts)):
            return self._log_part(tail, job.posts, ())
        appended: list[Appended] = []
        for part in parts(job.posts):
            appended += self._log_part(tail, part, self._deletion.about_deleted(tail.room, part))
        if job.state and not appended[-1].duplicate:
            self._states.change(tail, appended[-1].offset, job.state)
        return appended

    def _log_part(self, tail: Tail, posts: Sequence[Post], refused: Sequence[Post]) -> list[Appended]:
        epoch = self._file.epoch
        posts = settled_times(posts, tail.at, self.now())
        offset = tail.top + 1
        highest = self._index.highest(tail, posts)
        if highest is not None and not refused:
            self._insert(tail, posts, highest)
            return [Appended(epoch, offset, post.at, False) for offset, post in enumerate(posts, offset)]
        known = self._index.find(tail, posts)
        for post in refused:
            known.setdefault((post.session, post.id), Appended(epoch, 0, 0, True))
        fresh: dict[tuple[str, int], Post] = {}
        for post in posts:
            if (post.session, post.id) not in known:
                # Log the first of two copies: that is the one that the node delivers.
                fresh.setdefault((post.session, post.id), post)
        if fresh:
            new = list(fresh.values())
            self._insert(tail, new, self._index.highest(tail, new))
        appended: list[Appended] = []
        for post in posts:
            key = (post.session, post.id)
            if key in known:
                appended.append(known[key])
            else:
                appended.append(Appended(epoch, offset, post.at, False))
                known[key] = Appended(epoch, offset, post.at, True)
                offset += 1
        return appended

    def _insert(self, tail: Tail, posts: Sequence[Post], highest: dict[str, int] | None) -> None:
        """Write a batch of new posts."""
        blob = encode(posts)
        first = tail.top + 1
        self._file.writer.execute(
            "INSERT INTO batches VALUES (?, ?, ?)", (tail.room * ROOM + tail.top + len(posts), first, blob)
        )
        self._file.journal.size += len(blob)
        tail.at = posts[-1].at
        self._index.add(tail, posts, highest, len(blob))
        if RichPost in set(map(type, posts)):
            self._deletion.follow(tail.room, first, posts)

    def _trim(self, name: str, keep: int, before: int, limit: int) -> int:
        """Forget at most `limit` messages; return the number of messages forgotten."""
        writer, count = self._file.writer, 0
        while count < limit:
            row = writer.execute(
                f"SELECT r.id, (SELECT max(b.id) FROM batches b WHERE {_OF_ROOM}), b.id, first, posts"
                f" FROM rooms r JOIN batches b ON {_OF_ROOM} WHERE name = ? ORDER BY b.id LIMIT 1",
                (name,),
            ).fetchone()
            if row is None:
                break
            room, newest, batch, first, blob = row
            posts = self._file.decode(blob, POSTS)
            most = max(0, min(limit - count, newest % ROOM - keep - first + 1))
            times = self._times(batch, posts, newest, newest % ROOM - keep - first + 1)
            old = posts[: min(most, old_enough(times, before, self.now()))]
            count += len(old)
            writer.executemany(
                # This removes a run when its last post goes; until then its other posts stay known.
                "DELETE FROM runs WHERE room = ? AND session = ? AND last = ?",
                [(room, post.session, post.id) for post in old],
            )
            self._deletion.trimmed(room, first + len(old) - 1)
            if len(old) < len(posts):
                if old:
                    rest = encode(self._file.decode(blob, RAW)[len(old) :])
                    writer.execute(
                        "UPDATE batches SET first = ?, posts = ? WHERE id = ?", (first + len(old), rest, batch)
                    )
                break
            writer.execute("DELETE FROM batches WHERE id = ?", (batch,))
            # If this was the last batch, the room continues to count from here.
            writer.execute("UPDATE rooms SET indexed = max(indexed, ?) WHERE id = ?", (batch % ROOM, room))
        return count

    def _times(self, batch: int, posts: Sequence[Post], newest: int, most: int) -> Iterator[int]:
        """Yield the times of a batch's posts and, if the last is ahead of the clock, of the posts that follow.

        Yields at most `most` times, and reads at most `AHEAD` posts.
        """
        yield from (post.at for post in posts[: max(0, most)])
        if posts[-1].at <= self.now():
            return
        query = "SELECT posts FROM batches WHERE id > ? AND id <= ? ORDER BY id"
        most = min(most, AHEAD) - len(posts)
        with closing(self._file.writer.execute(query, (batch, newest))) as rows:
            for (blob,) in rows:
                if most <= 0:
                    return
                following = self._file.decode(blob, POSTS)
                yield from (post.at for post in following[:most])
                most -= len(following)

    # --- the file ---------------------------------------------------------------------------------------------

    def _select(self, query: str, arguments: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._reading:
            try:
                return self._file.reader.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise self._file.explain(error) from None

    def _check_file(self) -> None:
        """Reopen the file if another stands at the path; raises LogError. The caller holds _writing."""
        if self._closed:
            raise LogError("the room log is closed: the node is stopping")
        if self._file.replaced():
            with self._reading:
                self._index.forget()
                self._file.reopen()
