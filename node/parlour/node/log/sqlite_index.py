"""Which posts a SQLite room log has: what keeps (room, session, id) from being logged twice.

This module owns the table `runs` and what is remembered of rooms in use; who calls is within a write transaction. It
must never take a post for new that is kept, whichever node logged it.

A row for what each session said in a batch is on another page for each session, and cost more than all else of a small
commit. So the last batches of a room, its *tail*, are in no index. A node remembers the last id of each session, reads
what other nodes have logged since, and sees from that alone that a higher id is new. A long tail is *settled*: what a
session said in it becomes one run, with the first and last of its ids and the place of each. The ids of a session count
up in a tail, and go on from those of its runs. Where a post may be known, which is rare, it is looked for in the run
that its id falls into, and in the tail. If it is in neither, though its session has said higher ones, all is settled at
once, and the post gets a run of its own, without `first`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, TypeVar

from msgspec import Struct

from parlour.node.log import Appended, Post, RichPost
from parlour.node.log.sqlite_file import SqliteFile
from parlour.node.log.sqlite_pages import ROOM
from parlour.wire.codec import Decoder, encode
from parlour.wire.limits import sane_time

__all__ = ["POSTS", "PostIndex", "Tail"]

T = TypeVar("T")

TAIL = 128 * 1024
"""Bytes of posts at which a tail is settled: what a node reads of a room that it does not remember."""

REMEMBERED = 100_000
"""Sessions and rooms after which all are forgotten, to be read again, in some 200 bytes each."""

_Known = dict[tuple[str, int], Appended]
"""Where posts stand, by session and id, as duplicates are answered."""


class _Said(Struct, frozen=True, array_like=True, gc=False):
    """The beginning of a `Post`: to read no more of it takes half the time."""

    session: str
    id: int


POSTS: Decoder[list[RichPost]] = Decoder(list[RichPost], ours=True)
"""A batch; plain posts in it are shorter arrays, whose other fields are empty."""

_SAID: Decoder[list[_Said]] = Decoder(list[_Said], ours=True)

_PLACES: Decoder[dict[int, int]] = Decoder(dict[int, int], ours=True)
"""Where the posts of a run stand: by id, the offset less the run's `after`."""

_RUN_OF_POST = "SELECT last, first, after, places FROM runs WHERE room = ? AND session = ? AND last = ?"

_RUN_AMONG = (
    "SELECT last, first, after, places FROM runs INDEXED BY spans"
    " WHERE room = ? AND session = ? AND last >= ? AND first IS NOT NULL ORDER BY last LIMIT 1"
)
"""Without the index, which has no runs of single posts, all of these that follow would be looked at."""


class _Places(NamedTuple):
    """A run: its first and last id, and by id the offset of each post less `after`."""

    first: int
    last: int
    after: int
    places: dict[int, int]


_Run = tuple[int, str, int, int | None, int, bytes]
"""A row of `runs`."""


class Tail:
    """A room as it was after this node's last transaction there."""

    __slots__ = ("at", "indexed", "last", "room", "size", "top", "version")

    def __init__(self, room: int) -> None:
        self.room = room
        self.version = -1
        """The version of the file in which this was looked up."""
        self.top = -1
        self.indexed = 0
        """The offset after which the tail begins: what is up to here has runs, or was trimmed."""
        self.size = 0
        """Bytes of posts in the tail, or somewhat more."""
        self.at = 0
        """The time of the last post, in ms since the Unix epoch; 0 if none is kept."""
        self.last: dict[str, int] = {}
        """The highest id, or a higher one, of each session in the tail, and of others that were asked for."""


class PostIndex:
    """The posts of all rooms."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._tails: dict[str, Tail] = {}
        self._remembered = 0
        self._version = 0  # of the file, as SQLite counts it: another connection's commit makes it another

    def begin(self) -> None:
        """Look, at the beginning of a transaction, whether other nodes have written since the last one."""
        ((self._version,),) = self._file.writer.execute("PRAGMA data_version").fetchall()

    def forget(self) -> None:
        """Forget what is remembered: it may not be what the file has."""
        self._tails.clear()
        self._remembered = 0

    def tail(self, name: str) -> Tail:
        """Return a room as it is now; it is made if there is none."""
        writer = self._file.writer
        if self._remembered >= REMEMBERED:
            self.forget()
        tail = self._tails.get(name)
        if tail is None:
            # Not OR IGNORE, which would be silent about one room too many.
            writer.execute(
                "INSERT INTO rooms (name, indexed) SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM rooms WHERE name = ?)",
                (name, name),
            )
            ((room,),) = writer.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchall()
            tail = self._tails[name] = Tail(room)
            self._remembered += 1
        elif tail.version == self._version:
            return tail
        tail.version = self._version
        base = tail.room * ROOM
        ((tail.indexed, newest),) = writer.execute(
            "SELECT indexed, (SELECT max(id) FROM batches WHERE id BETWEEN ? AND ?) FROM rooms WHERE id = ?",
            (base, base + ROOM - 1, tail.room),
        ).fetchall()
        top = tail.indexed if newest is None else newest - base
        if tail.top != top:
            self._catch_up(tail, top)
        return tail

    def highest(self, tail: Tail, posts: Sequence[Post]) -> dict[str, int] | None:
        """Return each session's last id in the posts, if it is plain that all are new: they count up from the last."""
        highest: dict[str, int] = {}
        for post in posts:
            session = post.session
            last = highest.get(session)
            if last is None:
                last = tail.last.get(session)
                if last is None:
                    last = self._last_of_runs(tail, session)
            if post.id <= last:
                return None
            highest[session] = post.id
        return highest

    def find(self, tail: Tail, posts: Sequence[Post]) -> _Known:
        """Return where those of the posts stand that were logged."""
        offsets: dict[tuple[str, int], int] = {}
        rest: set[tuple[str, int]] = set()
        runs: dict[str, _Places] = {}  # of each session the run that was read last
        # In the order of their ids, so that no run is read twice: to decode one takes as long as a hundred look-ups.
        for post in sorted(posts, key=lambda post: post.id):
            offset = self._find_in_runs(tail, post, runs)
            if offset is not None:
                offsets[post.session, post.id] = offset
            elif post.id <= tail.last.get(post.session, -1):
                rest.add((post.session, post.id))
        if rest:
            offsets |= self._find_in_tail(tail, rest)
        found: _Known = {}
        first, batch = 0, list[RichPost]()
        # In the order of their offsets, so that no batch is read twice.
        for key, offset in sorted(offsets.items(), key=lambda item: item[1]):
            if not first <= offset < first + len(batch):
                first, batch = self._batch(tail, offset)
            if first <= offset:  # else it was trimmed
                found[key] = Appended(self._file.epoch, offset, sane_time(batch[offset - first].at), True)
        return found

    def add(self, tail: Tail, posts: Sequence[Post], highest: dict[str, int] | None, size: int) -> None:
        """Know of posts that were logged as the next batch; `highest` is theirs, and `size` the batch's bytes."""
        if highest is not None:
            tail.last |= highest
            tail.top += len(posts)
            tail.size += size
            if tail.size >= TAIL:
                self._settle(tail)
            return
        self._settle(tail)
        after, tail.top = tail.top, tail.top + len(posts)
        self._insert(
            tail,
            [
                (tail.room, post.session, post.id, None, after, encode({post.id: place}))
                for place, post in enumerate(posts, 1)
            ],
        )
        for session in {post.session for post in posts} & tail.last.keys():
            del tail.last[session]
            self._remembered -= 1

    # --- within ---------------------------------------------------------------------------------------------------

    def _catch_up(self, tail: Tail, top: int) -> None:
        """Read what other nodes have logged."""
        last = tail.last
        self._remembered -= len(last)
        if not tail.indexed <= tail.top <= top:
            # It is new here, or the tail of before was settled by another node; or a copy was put back.
            last.clear()
            tail.top, tail.size = tail.indexed, 0
        after, tail.top = tail.top, top
        for _, said, size in self._batches(tail, after, _SAID):
            tail.size += size
            for post in said:
                if post.id > last.get(post.session, -1):
                    last[post.session] = post.id
        self._remembered += len(last)
        tail.at = self._last_time(tail)

    def _last_time(self, tail: Tail) -> int:
        found = self._file.writer.execute(
            "SELECT posts FROM batches WHERE id = ?", (tail.room * ROOM + tail.top,)
        ).fetchall()
        return self._file.decode(found[0][0], POSTS)[-1].at if found else 0

    def _settle(self, tail: Tail) -> None:
        """Write the runs of the tail. It is read again: parts of it may have been trimmed."""
        runs: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for first, said, _ in self._batches(tail, tail.indexed, _SAID):
            for place, post in enumerate(said, first - tail.indexed):
                runs[post.session][post.id] = place  # in the order of the ids
        self._insert(
            tail,
            [
                (tail.room, session, next(reversed(places)), next(iter(places)), tail.indexed, encode(places))
                for session, places in runs.items()
            ],
        )

    def _insert(self, tail: Tail, runs: list[_Run]) -> None:
        """Write runs up to the top, where a new tail begins."""
        # In the order of the table, a thousand take a tenth less time.
        self._file.writer.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", sorted(runs))
        self._file.writer.execute("UPDATE rooms SET indexed = ? WHERE id = ?", (tail.top, tail.room))
        tail.indexed, tail.size = tail.top, 0

    def _last_of_runs(self, tail: Tail, session: str) -> int:
        """Look up a session that is not in the tail; remember and return the last id of its runs, or -1."""
        ((last,),) = self._file.writer.execute(
            "SELECT max(last) FROM runs WHERE room = ? AND session = ?", (tail.room, session)
        ).fetchall()
        tail.last[session] = highest = -1 if last is None else int(last)
        self._remembered += 1
        return highest

    def _find_in_runs(self, tail: Tail, wanted: Post, runs: dict[str, _Places]) -> int | None:
        """Return the offset of a post, which may have been trimmed, if it has a run.

        That takes two steps at most, however many runs the session has: the run of this post alone, and the one whose
        ids it falls among. `runs` has the one of these that was read last, by session.
        """
        session, number = wanted.session, wanted.id
        read = runs.get(session)
        if read is not None and number in read.places:
            return read.after + read.places[number]
        key = (tail.room, session, number)
        row = self._file.writer.execute(_RUN_OF_POST, key).fetchone()
        if row is None and (read is None or not read.first <= number <= read.last):
            row = self._file.writer.execute(_RUN_AMONG, key).fetchone()
        if row is None:
            return None
        last, first, after, blob = row
        if first is not None and first > number:
            return None
        places = self._file.decode(blob, _PLACES)
        if first is not None:
            runs[session] = _Places(first, last, after, places)
        return after + places[number] if number in places else None

    def _find_in_tail(self, tail: Tail, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offsets of those posts that are in the tail."""
        found: dict[tuple[str, int], int] = {}
        # What is sent again was mostly said just now.
        for first, said, _ in self._batches(tail, tail.indexed, _SAID, "DESC"):
            for offset, post in enumerate(said, first):
                if (post.session, post.id) in wanted:
                    found[post.session, post.id] = offset
            if len(found) == len(wanted):
                break
        return found

    def _batch(self, tail: Tail, offset: int) -> tuple[int, list[RichPost]]:
        """Return the batch that has an offset, or the next one if that was trimmed: its first offset and its posts."""
        base = tail.room * ROOM
        ((first, blob),) = self._file.writer.execute(
            "SELECT first, posts FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
            (base + offset, base + tail.top),
        ).fetchall()
        return first, self._file.decode(blob, POSTS)

    def _batches(
        self, tail: Tail, after: int, decoder: Decoder[list[T]], order: str = ""
    ) -> Iterator[tuple[int, list[T], int]]:
        """Yield the batches after an offset: the first offset, what the decoder gives, and the size in bytes."""
        base = tail.room * ROOM
        query = f"SELECT first, posts FROM batches WHERE id > ? AND id <= ? ORDER BY id {order}"
        with closing(self._file.writer.execute(query, (base + after, base + tail.top))) as rows:
            for first, blob in rows:
                yield first, self._file.decode(blob, decoder), len(blob)
