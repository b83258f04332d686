"""A deleted text leaves the SQLite file and its journal, wherever in them a copy of it was, and whoever reads."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parlour.node.log import Post, RichPost, RoomLog, sqlite_journal
from parlour.node.log.opening import open_log
from parlour.node.log.sqlite_journal import Journal
from parlour.node.log.sqlite_pages import RawFile, StainedPage, stained_pages
from support.waiting import MS, eventually, poll

ALWAYS = 2**53
"""A time after everything that is said here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a log file that is not there yet."""
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[RoomLog]:
    """Open the log in that file."""
    with closing(open_log(f"sqlite://{path}")) as opened:
        yield opened


def post(number: int, text: str = "hello", kind: str = "", ref: int = 0) -> Post:
    """Return a post of ada's."""
    return RichPost("s", number, "ada", number, text, kind, ref) if kind else Post("s", number, "ada", number, text)


def left(path: Path, *texts: str) -> list[str]:
    """Return which of the texts stand in the log's files."""
    data = b"".join(file.read_bytes() for file in path.parent.iterdir())
    return [text for text in texts if text.encode() in data]


def test_a_deleted_text_leaves_all_files(path: Path, log: RoomLog) -> None:
    """Soon, though nothing is said after it; so do its edits, and a text so long that it had pages of its own."""
    long = "".join(f"secret {number} " for number in range(1000))
    with closing(open_log(f"sqlite://{path}")) as other:
        log.append("lobby", [post(1, "before"), post(2, "first secret"), post(3, long)])
        other.append("lobby", [post(4, "second secret", "edit", 2), post(5, "after")])
        assert len(left(path, "first secret", "second secret", "secret 700")) == 3
        log.append("lobby", [post(6, "typo", "redact", 2)])
        other.append("lobby", [post(7, "typo", "redact", 3)])
        eventually(lambda: not left(path, "first secret", "second secret", "secret 700", "secret 1 "))
        assert left(path, "before", "after", "typo") == ["before", "after", "typo"]
        assert [message.text for message in log.read("lobby", 4, 3)] == ["after", "typo", "typo"]


def stained(path: Path) -> list[StainedPage]:
    """Return the pages of the file that hold more than their rows."""
    with closing(RawFile(path)) as file:
        return list(stained_pages(file, [range(100_000)]))


class Writer:
    """Says many things in many rooms, and keeps count of what is kept."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.said: dict[str, dict[int, str]] = {}

    def text(self) -> str:
        """Return a text that no other post has, of any length."""
        return f"secret {self.number} " + "x" * self.random.choice([0, 10, 40, 100, 400, 1500, 3000, 9000])

    def say(self, log: RoomLog, times: int) -> None:
        """Log batches in the rooms, the first of which say most, and trim now and then."""
        for _ in range(times):
            room = f"room {int(30 * self.random.random() ** 2)}"
            kept = self.said.setdefault(room, {})
            if self.random.random() < 0.05:
                log.trim(room, self.random.randint(1, 60), ALWAYS, 1000)
                trimmed = log.extent(room).trimmed
                for offset in [offset for offset in kept if offset <= trimmed]:
                    del kept[offset]
                continue
            posts: list[Post] = []
            for _ in range(self.random.choice([1, 1, 1, 2, 3, 8])):
                self.number += 1
                posts.append(post(self.number, self.text()))
            for place, said in zip(log.append(room, posts), posts, strict=True):
                kept[place.offset] = said.text

    def delete(self, log: RoomLog, room: str, offset: int) -> str:
        """Delete a record; return what stood at its text's beginning."""
        self.number += 1
        log.append(room, [post(self.number, "", "redact", offset)])
        return self.said[room].pop(offset)[: len("secret 12345")]


def test_no_copy_stays_where_a_page_was_split(path: Path, log: RoomLog) -> None:
    """Rows move to other pages as rooms grow; of a page that held a deleted text, nothing but its rows is left."""
    writer = Writer(1)
    writer.say(log, 2000)
    records = [(room, offset) for room, kept in writer.said.items() for offset in kept]
    deleted = [writer.delete(log, *each) for each in writer.random.sample(records, 150)]
    writer.say(log, 20)
    eventually(lambda: not left(path, *(f"{text[:11]} " for text in deleted)), 30)
    eventually(lambda: not stained(path), 30)
    for room, kept in writer.said.items():
        found = {message.offset: message.text for message in log.read(room, 0, 10_000) if not message.kind}
        assert found == kept
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_reader_holds_up_the_wiping_and_nothing_else(
    path: Path, log: RoomLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posts go on meanwhile; when it ends, the journal is emptied."""
    monkeypatch.setattr(sqlite_journal, "PAUSES", (0.0, *[100 * MS] * 100))
    log.append("lobby", [post(1, "secret 1")])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM batches").fetchone()
        log.append("lobby", [post(2, "", "redact", 1)])
        slowest = 0.0
        for number in range(3, 103):
            begun = time.monotonic()
            log.append("lobby", [post(number)])
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 1000 * MS
        assert left(path, "secret 1")
        reader.execute("COMMIT")
    eventually(lambda: not left(path, "secret 1"))
    assert len(log.read("lobby", 0, 1000)) == 102


def test_the_look_through_the_pages_keeps_sqlites_locks(path: Path, log: RoomLog) -> None:
    """Another node that comes and goes leaves the journal alone: it sees that the file is still in use."""
    log.append("lobby", [post(1, "secret 1"), post(2, "", "redact", 1)])

    def wiped() -> bool:
        with closing(sqlite3.connect(path)) as file:
            return not file.execute("SELECT * FROM meta WHERE key = 'deleted'").fetchall()

    eventually(wiped)
    log.append("lobby", [post(3, "kept")])
    code = f"from parlour.node.log.opening import open_log\nlog = open_log('sqlite://{path}')\nlog.close()\n"
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
    assert Path(f"{path}-wal").exists()
    log.append("lobby", [post(4, "kept, too")])
    assert [message.text for message in log.read("lobby", 2, 9)] == ["kept", "kept, too"]


def test_a_node_that_dies_leaves_the_wiping_to_the_next(path: Path) -> None:
    """The file knows that something was deleted."""
    code = f"""
import os
from parlour.node.log import Post, RichPost
from parlour.node.log.opening import open_log
from parlour.node.log.sqlite_journal import Journal
Journal.carry_over = lambda self: None
log = open_log("sqlite://{path}")
log.append("lobby", [Post("s", 1, "ada", 1, "secret 1")])
log.append("lobby", [RichPost("s", 2, "ada", 1, "", "redact", 1)])
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert left(path, "secret 1")
    with closing(open_log(f"sqlite://{path}")) as log:
        eventually(lambda: not left(path, "secret 1"))
        assert [message.kind for message in log.read("lobby", 0, 9)] == ["gone", "redact"]


def test_a_node_that_is_killed_has_deleted_or_not(path: Path) -> None:
    """Whenever it is killed, a record is gone if and only if its deletion is logged, and so are its edits."""
    code = f"""
import itertools
from parlour.node.log import Post, RichPost
from parlour.node.log.opening import open_log
log = open_log("sqlite://{path}")
print("ready", flush=True)
for n in itertools.count(1000000 * log.extent("lobby").top, 10):
    top = log.append("lobby", [Post("s", n, "ada", 1, "said" * 600), Post("s", n + 1, "ada", 1, "also")])[1].offset
    log.append("lobby", [RichPost("s", n + 2, "ada", 1, "edited" * 300, "edit", top - 1)])
    log.append("lobby", [RichPost("s", n + 3, "ada", 1, "", "redact", top - 1)])
"""
    chance = random.Random(2)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            assert node.stdout.readline() == "ready\n"
            poll(lambda: False, 0.05 + 0.2 * chance.random())
            node.kill()
    with closing(open_log(f"sqlite://{path}")) as log:
        messages = log.read("lobby", 0, 1_000_000)
        redacted = {message.ref for message in messages if message.kind == "redact"}
        assert len(redacted) > 5
        for message in messages:
            if message.kind == "gone":
                assert message.offset in redacted or message.offset - 2 in redacted
            elif message.kind == "edit":
                assert message.ref not in redacted
            elif not message.kind:
                assert message.offset not in redacted
        eventually(lambda: not stained(path))


def test_every_connection_overwrites_what_it_deletes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a SQLite that was built to leave it in the file, as most are."""
    opened: list[sqlite3.Connection] = []
    real = sqlite3.connect

    def lax(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(real(*arguments, **options))
        opened[-1].execute("PRAGMA secure_delete = OFF")
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", lax)
    with closing(open_log(f"sqlite://{path}")):
        assert [each.execute("PRAGMA secure_delete").fetchone() for each in opened] == [(1,), (1,)]


def test_what_is_plainly_said_is_written_as_before(path: Path, log: RoomLog) -> None:
    """Five elements, as an older parlour does and as many bytes; it reads the longer ones as far as it knows them."""
    log.append("lobby", [post(1), post(2)])
    log.append("lobby", [post(3, "waves", "action"), post(4)])
    log.append("lobby", [post(5, "", "redact", 1)])
    with closing(sqlite3.connect(path)) as file:
        rows = [msgspec.msgpack.decode(posts) for (posts,) in file.execute("SELECT posts FROM batches ORDER BY id")]
    assert rows[0][1] == ["s", 2, "ada", 2, "hello"]
    assert [row[0][:5] for row in rows] == [
        ["s", 1, "ada", 1, "(deleted)"],
        ["s", 3, "ada", 3, "waves"],
        ["s", 5, "ada", 5, ""],
    ]
    assert rows[1][1][:5] == ["s", 4, "ada", 4, "hello"]


def test_a_file_of_before_takes_deletions(path: Path) -> None:
    """An older parlour made it, without a table of edits; it may open it again after."""
    with closing(open_log(f"sqlite://{path}")) as log:
        log.append("lobby", [post(1, "secret 1"), post(2)])
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE edits")
        before = file.execute("PRAGMA user_version").fetchone()
    with closing(open_log(f"sqlite://{path}")) as log:
        log.append("lobby", [post(3, "secret 3", "edit", 1), post(4, "", "redact", 1)])
        assert [message.kind for message in log.read("lobby", 0, 9)] == ["gone", "", "gone", "redact"]
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == before
        assert file.execute("SELECT count(*) FROM edits").fetchone() == (0,)
    assert not left(path, "secret 1", "secret 3")


def test_what_is_known_of_edits_is_trimmed(path: Path, log: RoomLog) -> None:
    """With the records that they edit."""
    log.append("lobby", [post(1), post(2), post(3, "", "edit", 1), post(4, "", "edit", 2), post(5, "", "edit", 2)])
    log.trim("lobby", 4, ALWAYS, 100)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT ref, offset FROM edits").fetchall() == [(2, 4), (2, 5)]
    log.trim("lobby", 0, ALWAYS, 100)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT ref, offset FROM edits").fetchall() == []


def test_deletions_in_quick_succession_are_all_wiped(path: Path, log: RoomLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is committed while another is being wiped is wiped after it, though nothing is said any more."""
    wiped: list[str] = []
    wipe = Journal._wipe

    def wiping(self: Journal, connection: sqlite3.Connection, noted: str) -> bool:
        done = wipe(self, connection, noted)
        wiped.append(noted)
        if len(wiped) == 1:
            log.append("lobby", [post(11, "", "redact", 2)])
        return done

    monkeypatch.setattr(Journal, "_wipe", wiping)
    log.append("lobby", [post(number, f"secret {number}") for number in range(1, 4)])
    log.append("lobby", [post(10, "", "redact", 1)])
    eventually(lambda: not left(path, "secret 1", "secret 2"))
    assert left(path, "secret 3")
