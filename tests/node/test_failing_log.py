"""The room log fails under a running node: senders are told, nothing unlogged is delivered, and it goes on after."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from parlour.node import NodeSettings
from parlour.node.log import Appended, Post
from parlour.node.log.opening import open_log
from parlour.node.log.retention import Retention
from parlour.node.log.sqlite import SqliteLog
from parlour.node.rooms.reorder import HELD
from parlour.wire.messages import Accepted, Error, Join, Joined, Message, Say
from support.cluster import cluster
from support.waiting import MS, eventually, poll


def test_a_log_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    """While the file is away every post brings an error and no message; the same post goes through when it is back."""
    path = tmp_path / "log.sqlite"
    with (
        cluster(2, NodeSettings(log=f"sqlite://{path}")) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        ada.send(Say("lobby", 1, "before"))
        for client in (ada, bob):
            assert client.get(Message).text == "before"
        path.rename(tmp_path / "away.sqlite")
        ada.send(Say("lobby", 2, "lost?"), Say("lobby", 3, "lost too?"))
        for number in (2, 3):
            error = ada.get(Error)
            assert (error.code, error.id, error.room, error.fatal) == ("unavailable", number, "lobby", False)
            assert "put it back" in error.text
            assert error.retry_after
        (tmp_path / "away.sqlite").rename(path)
        ada.send(Say("lobby", 2, "lost?"), Say("lobby", 3, "lost too?"))
        for client in (ada, bob):
            assert [client.get(Message).text for _ in range(2)] == ["lost?", "lost too?"]
            assert not [heard for heard in client.heard if isinstance(heard, Message)]


def test_a_log_that_cannot_be_looked_at_for_a_moment_ends_nothing(tmp_path: Path) -> None:
    """Whatever the system says of its path: no thread ends, no connection, and what the relay loses is read again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    settings = NodeSettings(
        log=f"sqlite://{folder}/log.sqlite", relay_loss=1.0, retention=Retention(count=1000), trim_interval=50 * MS
    )
    with cluster(2, settings) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "one")
        assert bob.texts(1) == ada.texts(1)
        folder.rename(tmp_path / "away")
        folder.write_text("not a folder")
        ada.say("lobby", "refused")
        bob.send(Join("attic"))
        for client in (ada, bob):
            assert "Not a directory" in client.get(Error).text
        poll(lambda: False, 0.2)  # the trimmers have met it too
        folder.unlink()
        (tmp_path / "away").rename(folder)
        ada.say("lobby", "two")
        assert bob.texts(1) == ada.texts(1) == ["two"]


def test_a_restored_log_starts_every_member_anew(tmp_path: Path) -> None:
    """An older copy takes the place of the file: members go on from the last message that it has."""
    path = tmp_path / "log.sqlite"
    with (
        cluster(2, NodeSettings(log=f"sqlite://{path}")) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        ada.say("lobby", "one")
        for client in (ada, bob):
            client.get(Message)
        source, backup = sqlite3.connect(path), sqlite3.connect(tmp_path / "backup.sqlite")
        source.backup(backup)
        source.close()
        backup.close()
        ada.say("lobby", "two, which the backup does not have")
        for client in (ada, bob):
            client.get(Message)
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)
        shutil.move(tmp_path / "backup.sqlite", path)
        ada.say("lobby", "three")
        for client in (ada, bob):
            again = client.get(Joined)
            assert (again.recovered, again.after, again.offset) == (False, 1, 1)
            message = client.get(Message)
            assert (message.text, message.offset) == ("three", 2)


def test_a_room_cannot_be_joined_while_the_log_is_away(tmp_path: Path) -> None:
    """The client is told, keeps its connection, and may try again."""
    path = tmp_path / "log.sqlite"
    with cluster(1, NodeSettings(log=f"sqlite://{path}")) as running, running.clients("ada") as (ada,):
        breaker = sqlite3.connect(path)
        breaker.execute("ALTER TABLE rooms RENAME TO elsewhere")
        breaker.commit()
        ada.send(Join("lobby"))
        error = ada.get(Error)
        assert (error.code, error.room) == ("unavailable", "lobby")
        breaker.execute("ALTER TABLE elsewhere RENAME TO rooms")
        breaker.commit()
        breaker.close()
        ada.join("lobby")
        ada.say("lobby", "here at last")
        assert ada.get(Message).text == "here at last"


def test_a_post_that_was_logged_and_never_delivered_is_delivered_when_it_is_sent_again(tmp_path: Path) -> None:
    """Its node died, or the log answered too late: sent again it is a duplicate, which shows that there is a hole."""
    with (
        cluster(2, NodeSettings(log=f"sqlite://{tmp_path}/log.sqlite")) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        log = open_log(f"sqlite://{tmp_path}/log.sqlite")
        log.append("lobby", [Post(ada.session, 1, "ada", 1, "logged in vain")])
        log.close()
        ada.send(Say("lobby", 1, "logged in vain"))
        assert ada.get(Accepted).offset == 1
        for client in (ada, bob):
            assert client.get(Message).text == "logged in vain"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_one_pass_does_not_end_a_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who posted is told; whoever was the combiner loses the connection at most, and what is said then is delivered."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        with monkeypatch.context() as broken:
            broken.setattr(running.nodes[0].log, "append", lambda *_: 1 // 0)
            ada.say("lobby", "one")
            assert ada.get(Error).code == "internal"
        with running.clients("bob", room="lobby") as (bob,):
            bob.say("lobby", "two")
            assert bob.texts(1) == ["two"]


def test_what_the_others_tell_of_a_room_that_waits_for_its_log_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has all that is dropped then, and it comes from there."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        node = running.nodes[0]
        real, stuck, go = node.log.append, threading.Event(), threading.Event()

        def append(room: str, posts: Sequence[Post], *checked: Any) -> list[Appended]:
            if posts[0].by == "ada":
                stuck.set()
                go.wait(10_000 * MS)
            return real(room, posts, *checked)

        monkeypatch.setattr(node.log, "append", append)
        ada.say("lobby", "one")
        eventually(stuck.is_set)
        waiting = node.rooms.get("lobby")
        assert waiting is not None
        for number in range(HELD + 100):
            bob.say("lobby", str(number))
            bob.get(Message)
        poll(lambda: len(waiting._arrivals) > HELD, 0.3)
        assert len(waiting._arrivals) <= HELD
        go.set()
        assert ada.texts(HELD + 101) == [*map(str, range(HELD + 100)), "one"]


def test_a_log_that_another_program_holds_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """Threads that wait for it, also at the end, wait for a moment only; all that was logged is there."""
    path = tmp_path / "log.sqlite"
    settings = NodeSettings(log=f"sqlite://{path}")
    with cluster(1, settings) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        bob.join("loft")
        ada.say("lobby", "logged")
        assert ada.texts(1) == ["logged"]
        with closing(sqlite3.connect(path)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            ada.say("lobby", "stuck")
            bob.say("loft", "stuck, too")
            node = running.nodes[0]
            engine = node.log.engine
            assert isinstance(engine, SqliteLog)
            eventually(lambda: engine._writing.locked() and len(engine._waiting) == 1)
            begun = time.monotonic()
            node.stop(4.0)
            assert time.monotonic() - begun < 2000 * MS
        with closing(open_log(settings.log)) as log:
            assert [message.text for message in log.read("lobby", 0, 9)] == ["logged"]
