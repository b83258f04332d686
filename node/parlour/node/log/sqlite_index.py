"""The index of posts in a SQLite room log: it keeps a (room, session, id) from being logged twice.

This module owns the table `runs` and the memory of rooms in use; the caller is within a write transaction. It must
never report a kept post as new, whichever node logged it.

One index row for each session of a batch would be on another page each, and would cost more than the rest of a small
commit. So the last batches of a room, its *tail*, have no index. A node remembers the last id of each session and reads
what other nodes have logged since; so it knows that a higher id is new. A long tail is *settled*: the posts of each
session become one run, with the first and last id and the place of each post. The ids of a session count up in a tail,
and continue from those of its runs. A post that may be known, which is rare, is searched in the run that its id falls
into, and in the tail. If it is in neither, although its session has posted higher ids, the tail is settled at once and
the post gets a run of its own, without `first`.
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
"""Bytes of posts at which a tail is settled; a node reads as much for a room that it does not remember."""

REMEMBERED = 100_000
"""Sessions and rooms in memory, some 200 bytes each, at which all are forgotten and read again on demand."""

_Known = dict[tuple[str, int], Appended]
"""The places of posts, by session and id, as answers to duplicates."""


class _Said(Struct, frozen=True, array_like=True, gc=False):
    """The first fields of a `Post`; decoding only these takes half the time."""

    session: str
    id: int


POSTS: Decoder[list[RichPost]] = Decoder(list[RichPost], ours=True)
"""A batch; its plain posts are shorter arrays, whose other fields are read as empty."""

_SAID: Decoder[list[_Said]] = Decoder(list[_Said], ours=True)

_PLACES: Decoder[dict[int, int]] = Decoder(dict[int, int], ours=True)
"""The places of a run's posts: by id, the offset less the run's `after`."""

_RUN_OF_POST = "SELECT last, first, after, places FROM runs WHERE room = ? AND session = ? AND last = ?"

_RUN_AMONG = (
    "SELECT last, first, after, places FROM runs INDEXED BY spans"
    " WHERE room = ? AND session = ? AND last >= ? AND first IS NOT NULL ORDER BY last LIMIT 1"
)
"""The index leaves out the runs of single posts, so that SQLite does not step through them."""


class _Places(NamedTuple):
    """A run: its first and last id, and by id the offset of each post less `after`."""

    first: int
    last: int
    after: int
    places: dict[int, int]


_Run = tuple[int, str, int, int | None, int, bytes]
"""A row of `runs`."""


class Tail:
    """A room's state after the last transaction of this node there."""

    __slots__ = ("at", "indexed", "last", "room", "size", "state", "top", "version")

    def __init__(self, room: int) -> None:
        self.room = room
        self.version = -1
        """SQLite's data version of the file when this was read."""
        self.top = -1
        self.indexed = 0
        """The offset after which the tail begins; posts up to here have runs, or were trimmed."""
        self.size = 0
        """Bytes of posts in the tail; it may be a little too high."""
        self.at = 0
        """The time of the last post, in ms since the Unix epoch; 0 if none is kept."""
        self.last: dict[str, int] = {}
        """An upper bound of the ids of each session in the tail, and of other sessions that were looked up."""
        self.state = 0
        """The version of the room's state; see `sqlite_state.py`."""


class PostIndex:
    """The posts of all rooms."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._tails: dict[str, Tail] = {}
        self._remembered = 0
        self._version = 0  # SQLite's data version, which changes with each commit of another connection

    def begin(self) -> None:
        """Read the file's data version at the beginning of a transaction: have other nodes written?"""
        ((self._version,),) = self._file.writer.execute("PRAGMA data_version").fetchall()

    def forget(self) -> None:
        """Forget everything in memory, since it may differ from the file."""
        self._tails.clear()
        self._remembered = 0

    def tail(self, name: str) -> Tail:
        """Return a room's current state; makes the room if it does not exist."""
        writer = self._file.writer
        if self._remembered >= REMEMBERED:
            self.forget()
        tail = self._tails.get(name)
        if tail is None:
            # OR IGNORE would also hide the error of one room too many.
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
        ((tail.indexed, newest, state),) = writer.execute(
            "SELECT indexed, (SELECT max(id) FROM batches WHERE id BETWEEN ? AND ?),"
            " (SELECT version FROM states WHERE room = rooms.id) FROM rooms WHERE id = ?",
            (base, base + ROOM - 1, tail.room),
        ).fetchall()
        tail.state = state or 0
        top = tail.indexed if newest is None else newest - base
        if tail.top != top:
            self._catch_up(tail, top)
        return tail

    def highest(self, tail: Tail, posts: Sequence[Post]) -> dict[str, int] | None:
        """Return the last id of each session in the posts if all are surely new (the ids count up); else None."""
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
        """Return the places of those posts that were logged before."""
        offsets: dict[tuple[str, int], int] = {}
        rest: set[tuple[str, int]] = set()
        runs: dict[str, _Places] = {}  # the last run that was read, by session
        # In the order of ids, so that no run is read twice: decoding one takes as long as a hundred look-ups.
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
        # In the order of offsets, so that no batch is read twice.
        for key, offset in sorted(offsets.items(), key=lambda item: item[1]):
            if not first <= offset < first + len(batch):
                first, batch = self._batch(tail, offset)
            if first <= offset:  # else it was trimmed
                found[key] = Appended(self._file.epoch, offset, sane_time(batch[offset - first].at), True)
        return found

    def add(self, tail: Tail, posts: Sequence[Post], highest: dict[str, int] | None, size: int) -> None:
        """Note posts that were logged as the next batch of `size` bytes; `highest` is what `highest()` returned."""
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
        """Read the posts that other nodes have logged."""
        last = tail.last
        self._remembered -= len(last)
        if not tail.indexed <= tail.top <= top:
            # The room is new here, or another node has settled its tail, or somebody restored a copy of the file.
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
        """Write the runs of the tail. Reads the tail again, since parts of it may have been trimmed."""
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
        """Write runs up to the top offset; a new tail begins there."""
        # In the order of the table, a thousand rows take a tenth less time.
        self._file.writer.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", sorted(runs))
        self._file.writer.execute("UPDATE rooms SET indexed = ? WHERE id = ?", (tail.top, tail.room))
        tail.indexed, tail.size = tail.top, 0

    def _last_of_runs(self, tail: Tail, session: str) -> int:
        """Look up a session that is not in the tail: store and return the last id of its runs, or -1."""
        ((last,),) = self._file.writer.execute(
            "SELECT max(last) FROM runs WHERE room = ? AND session = ?", (tail.room, session)
        ).fetchall()
        tail.last[session] = highest = -1 if last is None else int(last)
        self._remembered += 1
        return highest

    def _find_in_runs(self, tail: Tail, wanted: Post, runs: dict[str, _Places]) -> int | None:
        """Return the offset of a post that has a run, even if the post was trimmed; else None.

        This takes at most two look-ups, however many runs the session has: a run of this post alone, and the run whose
        ids include this one. `runs` holds the last run of the second kind that was read, by session.
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
        """Return the offsets of the wanted posts that are in the tail."""
        found: dict[tuple[str, int], int] = {}
        # From the end: clients mostly repeat recent posts.
        for first, said, _ in self._batches(tail, tail.indexed, _SAID, "DESC"):
            for offset, post in enumerate(said, first):
                if (post.session, post.id) in wanted:
                    found[post.session, post.id] = offset
            if len(found) == len(wanted):
                break
        return found

    def _batch(self, tail: Tail, offset: int) -> tuple[int, list[RichPost]]:
        """Return the first offset and the posts of the batch that holds an offset, or of the next if it was trimmed."""
        base = tail.room * ROOM
        ((first, blob),) = self._file.writer.execute(
            "SELECT first, posts FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
            (base + offset, base + tail.top),
        ).fetchall()
        return first, self._file.decode(blob, POSTS)

    def _batches(
        self, tail: Tail, after: int, decoder: Decoder[list[T]], order: str = ""
    ) -> Iterator[tuple[int, list[T], int]]:
        """Yield the batches after an offset: first offset, decoded posts, and size in bytes."""
        base = tail.room * ROOM
        query = f"SELECT first, posts FROM batches WHERE id > ? AND id <= ? ORDER BY id {order}"
        with closing(self._file.writer.execute(query, (base + after, base + tail.top))) as rows:
            for first, blob in rows:
                yield first, self._file.decode(blob, decoder), len(blob)
