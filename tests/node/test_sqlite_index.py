"""A post is logged once in a SQLite log, wherever in it the first is, and whichever node it comes to."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.node.log import Appended, LogError, Post, RichPost, RoomLog, sqlite_file, sqlite_index
from parlour.node.log.memory import MemoryLog
from parlour.node.log.opening import open_log
from parlour.node.log.sqlite import SqliteLog
from parlour.wire.codec import Decoder

ALWAYS = 2**53
"""A time after everything that is said here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a log file that is not there yet."""
    return tmp_path / "log.sqlite"


@pytest.fixture
def logs(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RoomLog, RoomLog]]:
    """Open one file as two nodes do, with tails of some ten posts."""
    monkeypatch.setattr(sqlite_index, "TAIL", 300)
    with closing(open_log(f"sqlite://{path}")) as log, closing(open_log(f"sqlite://{path}")) as other:
        yield log, other


def say(log: RoomLog, *ids: int, session: str = "s") -> list[tuple[int, bool]]:
    """Append posts as one batch; return where each stands, and whether it was logged before."""
    appended = log.append("lobby", [Post(session, number, "ada", number, "hello") for number in ids])
    return [(place.offset, place.duplicate) for place in appended]


def rows(path: Path, query: str) -> list[tuple[int, ...]]:
    """Ask the file itself."""
    with closing(sqlite3.connect(path)) as file:
        return file.execute(query).fetchall()


def test_a_post_is_known_wherever_it_stands(logs: tuple[RoomLog, RoomLog], path: Path) -> None:
    """In the oldest batch, one in the middle, the newest, by itself or among new ones, to the other node too."""
    log, other = logs
    for number in range(1, 100):
        assert say(log, number) == [(number, False)]
    assert 3 < rows(path, "SELECT count(*) FROM runs")[0][0] < 20, "runs hold several batches each"
    for number in (1, 2, 49, 50, 51, 98, 99):
        assert say(other, number) == [(number, True)]
        assert say(log, number) == [(number, True)]
    mixed = [(1, True), (50, True), (100, False), (99, True), (101, False), (100, True)]
    assert say(other, 1, 50, 100, 99, 101, 100) == mixed
    assert say(log, 101, 102) == [(101, True), (102, False)]


def test_nodes_in_turn_know_what_the_other_has_logged(logs: tuple[RoomLog, RoomLog]) -> None:
    """What a node remembers of a room is no longer all, and it is the other that settles what it remembers."""
    for number in range(1, 60):
        one, two = logs if number % 3 else logs[::-1]
        assert say(one, number) == [(number, False)]
        assert say(two, number) == [(number, True)]


def test_ids_that_come_late_are_logged_and_known(logs: tuple[RoomLog, RoomLog]) -> None:
    """Higher ones were logged already, and some are in the same batch: each stands once, also in later runs' midst."""
    log, other = logs
    for number in range(10, 40, 2):
        say(log, number)
    assert say(other, 11, 12, 13, 50) == [(16, False), (2, True), (17, False), (18, False)]
    assert say(log, 13, 12, 11, 50, 14) == [(17, True), (2, True), (16, True), (18, True), (3, True)]
    assert say(log, 49) == [(19, False)]
    for number in range(51, 90):
        assert say(log, number)[0][1] is False
    assert say(other, 49, 11, 89, 51) == [(19, True), (16, True), (58, True), (20, True)]


def test_an_id_below_the_runs_is_not_hidden_by_one_in_the_tail(logs: tuple[RoomLog, RoomLog]) -> None:
    """A late id is the last that a session says before the other node looks: the ids above it are still known."""
    log, other = logs
    say(log, 100)
    say(log, 50)
    assert say(other, 60) == [(3, False)]
    assert say(other, 100) == [(1, True)]
    assert say(log, 60, 50, 100, 101) == [(3, True), (2, True), (1, True), (4, False)]


def work_of(log: RoomLog, *ids: int) -> int:
    """Return how many steps SQLite's machine takes to append these."""
    assert isinstance(log, SqliteLog)
    taken = itertools.count()
    log._file.writer.set_progress_handler(lambda: next(taken) < 0, 10)
    say(log, *ids)
    log._file.writer.set_progress_handler(None, 0)
    return next(taken)


@pytest.mark.parametrize("ids", [pytest.param((900_000,), id="new"), pytest.param((950_010,), id="repeated")])
def test_a_look_up_does_not_grow(logs: tuple[RoomLog, RoomLog], ids: tuple[int, ...]) -> None:
    """Of a session that counts down each post has a row of its own: they are not walked."""
    log, _ = logs
    say(log, 1_000_000)
    say(log, *range(950_050, 950_000, -1))
    few = work_of(log, *ids)
    for top in range(949_000, 900_000, -1000):
        say(log, *range(top, top - 100, -1))
    assert work_of(log, *(each - 1 for each in ids)) <= 3 * few


def test_many_repeated_posts_read_each_batch_once(
    logs: tuple[RoomLog, RoomLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that repeats old ones, in whichever order, takes no more than these took; so it is with runs."""
    log, _ = logs
    for first in range(1, 200, 20):
        say(log, *range(first, first + 20))
    batches: list[int] = []
    runs: list[bytes] = []
    batch = sqlite_index.PostIndex._batch
    decode = sqlite_file.SqliteFile.decode

    def reading(self: sqlite_index.PostIndex, tail: sqlite_index.Tail, offset: int) -> tuple[int, list[RichPost]]:
        batches.append(offset)
        return batch(self, tail, offset)

    def decoding(self: sqlite_file.SqliteFile, blob: bytes, decoder: Decoder[object]) -> object:
        if decoder is sqlite_index._PLACES:
            runs.append(blob)
        return decode(self, blob, decoder)

    monkeypatch.setattr(sqlite_index.PostIndex, "_batch", reading)
    monkeypatch.setattr(sqlite_file.SqliteFile, "decode", decoding)
    to_and_fro = [number for pair in zip(range(200, 0, -3), range(1, 200, 3), strict=True) for number in pair]
    assert say(log, *to_and_fro) == [(number, True) for number in to_and_fro]
    assert len(batches) <= 10
    assert len(runs) == len(set(runs)) <= 10


def test_a_log_of_before_gets_what_it_lacks(logs: tuple[RoomLog, RoomLog], path: Path) -> None:
    """A file that an older parlour made is opened, and is as quick."""
    log, other = logs
    say(log, *range(1, 50))
    other.close()
    log.close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP INDEX spans")
    with closing(open_log(f"sqlite://{path}")) as again:
        assert say(again, 3, 50, 2) == [(3, True), (50, False), (2, True)]


def test_what_is_trimmed_leaves_no_rows(logs: tuple[RoomLog, RoomLog], path: Path) -> None:
    """Sessions come and go by the million: what is known of them goes with the last of their messages."""
    log, other = logs
    for number in range(1, 100):
        say(log, number, session=f"s{number}")
        if number % 7 == 0:
            other.trim("lobby", 5, ALWAYS, 1000)
    assert say(log, 97, session="s97") == [(97, True)]
    assert say(log, 1, session="s1") == [(100, False)]
    other.trim("lobby", 0, ALWAYS, 1000)
    assert rows(path, "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM batches)") == [(0, 0)]
    assert say(log, 2, session="s1") == [(101, False)]
    other.trim("lobby", 0, ALWAYS, 1000)
    for number in range(1, 30):
        assert say(log, number, session="t") == [(101 + number, False)]
    log.trim("lobby", 0, ALWAYS, 1000)
    assert rows(path, "SELECT count(*) FROM runs") == [(0,)]


def test_a_trim_keeps_what_a_newer_version_wrote(logs: tuple[RoomLog, RoomLog], path: Path) -> None:
    """A batch is cut between its posts: fields that this version does not know stay, byte for byte."""
    say(logs[0], 1, 2, 3)
    newer = [["s", number, "ada", number, "hello", "", 0, "", {}, {"colour": "red"}, [number]] for number in (1, 2, 3)]
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE batches SET posts = ?", (msgspec.msgpack.encode(newer),))
    logs[1].trim("lobby", 2, ALWAYS, 1000)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT first, posts FROM batches").fetchall() == [(2, msgspec.msgpack.encode(newer[1:]))]
    assert say(logs[0], 3, 4) == [(3, True), (4, False)]


def test_what_a_failed_commit_did_is_forgotten(logs: tuple[RoomLog, RoomLog], path: Path) -> None:
    """The room it made is not there, and its number is that of another room now."""
    log, other = logs
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TRIGGER full BEFORE INSERT ON batches BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with pytest.raises(LogError, match="make room"):
            say(log, 1)
        file.execute("DROP TRIGGER full")
    other.append("attic", [Post("s", 1, "ada", 1, "hello")])
    assert say(log, 1, 2) == [(1, False), (2, False)]
    assert [message.id for message in other.read("attic", 0, 9)] == ["s-1"]


def test_a_small_commit_writes_hardly_more_than_its_posts(path: Path) -> None:
    """Ten sessions' posts go to one page of a large log: with a page for each a commit took four times as long."""
    journal = Path(f"{path}-wal")
    with closing(open_log(f"sqlite://{path}")) as log:
        for first in range(0, 2000, 100):
            log.append("lobby", [Post(f"s{session}", 1, "ada", 1, "hello") for session in range(first, first + 100)])
        log.append("lobby", [Post(f"s{session}", 2, "ada", 1, "hello") for session in range(0, 2000, 200)])
        size = journal.stat().st_size
        log.append("lobby", [Post(f"s{session}", 3, "ada", 1, "hello") for session in range(0, 2000, 200)])
        assert journal.stat().st_size - size <= 4 * 4200


posts = st.tuples(st.sampled_from(["s", "t", "u", "v"]), st.integers(1, 25))
steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.sampled_from(["lobby", "lobby", "attic"]),
        st.lists(posts, min_size=1, max_size=6)
        | st.lists(posts, min_size=1, max_size=6).map(sorted)
        | st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=steps, tail=st.sampled_from([1, 100, 400, 100_000]), remembered=st.sampled_from([1, 8, 1000]))
def test_two_nodes_do_what_a_log_in_memory_does(
    steps: list[tuple[int, str, list[tuple[str, int]] | int]], tail: int, remembered: int
) -> None:
    """Batches with repeated and late ids, and trimming, by either node: the same places, times and messages."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder, ExitStack() as stack:
        patch.setattr(sqlite_index, "TAIL", tail)
        patch.setattr(sqlite_index, "REMEMBERED", remembered)
        url = f"sqlite://{folder}/log.sqlite"
        logs = [stack.enter_context(closing(open_log(url))) for _ in range(2)]
        model = MemoryLog()

        def places(appended: list[Appended]) -> list[tuple[int, int, bool]]:
            return [(place.offset, place.at, place.duplicate) for place in appended]

        for clock, (node, room, step) in enumerate(steps):
            if isinstance(step, int):
                assert logs[node].trim(room, step, ALWAYS, 4) == model.trim(room, step, ALWAYS, 4)
            else:
                batch = [Post(session, number, "ada", 10 * clock + at, "") for at, (session, number) in enumerate(step)]
                assert places(logs[node].append(room, batch)) == places(model.append(room, batch))
            assert logs[1 - node].read(room, 0, 1000) == model.read(room, 0, 1000)
            assert logs[node].extent(room)[1:] == model.extent(room)[1:]
        for room in ("lobby", "attic"):
            logs[0].trim(room, 0, ALWAYS, 1000)
        assert rows(Path(folder) / "log.sqlite", "SELECT count(*) FROM runs") == [(0,)]


def test_sessions_without_number_are_not_remembered_without_end(
    logs: tuple[RoomLog, RoomLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One room, in which everybody says one thing and is never seen again."""
    monkeypatch.setattr(sqlite_index, "REMEMBERED", 100)
    for number in range(500):
        assert say(logs[0], 1, session=f"s{number}") == [(number + 1, False)]
        (tail,) = logs[0]._index._tails.values()  # type: ignore[attr-defined]
        assert len(tail.last) <= 100
    assert say(logs[0], 1, 2, session="s7") == [(8, True), (501, False)]
