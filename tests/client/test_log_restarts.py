"""The room log was started anew, or lost its end: a program sees only new messages, with correct marks."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parlour.client import Chat, Event, Message, Presence, Restarted, Room
from parlour.node import NodeSettings
from parlour.runtime.threads import join_all, spawn
from support.cluster import Cluster, cluster
from support.redis_server import MISSING, RedisServer, redis_server
from support.waiting import MS, eventually

EVERY_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that may lose the writes of its last second, so every start begins a new epoch."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder, *EVERY_SECOND) as running:
        yield running


def stopped(server: RedisServer) -> None:
    """End the server in order, with everything on its disk."""
    with server.client() as client:
        client.shutdown()
    server.kill()


def chat_of(room: Room) -> Chat:
    """Return the chat that a room belongs to."""
    assert isinstance(room._chat, Chat)
    return room._chat


def taken(room: Room) -> list[Event]:
    """Return the events of the room without changes of the members."""
    return [event for event in room.events(timeout=0.3) if not isinstance(event, Presence)]


def texts(room: Room) -> list[tuple[str, bool]]:
    """Return the texts of the messages taken, each with its mark as a replay."""
    return [(event.text, event.replay) for event in taken(room) if isinstance(event, Message)]


@contextmanager
def two_in(running: Cluster, history: int, said: int) -> Iterator[tuple[Room, Room]]:
    """Yield the rooms of ada and bob, on two nodes; bob joined before these messages were posted, ada after that."""
    bob = running.chat("bob").join("lobby", history)
    for number in range(1, said + 1):
        bob.post(f"old {number}").result(10)
    ada = running.chat("ada").join("lobby", history)
    assert chat_of(ada).node != chat_of(bob).node
    assert texts(bob) == [(f"old {number}", False) for number in range(1, said + 1)]
    assert texts(ada) == [(f"old {number}", True) for number in range(said - history + 1, said + 1)]
    yield ada, bob


@pytest.mark.parametrize("history", [0, 5])
def test_a_clean_restart_shows_nothing_again(server: RedisServer, history: int) -> None:
    """The log of the new epoch has everything: the next message is new for all, and acknowledged."""
    with cluster(2, NodeSettings(log=server.url)) as running, two_in(running, history, 20) as (ada, bob):
        stopped(server)
        server.start()
        said = bob.say("new", timeout=20)
        assert said.offset == 21
        for room in (ada, bob):
            assert [(type(event), getattr(event, "text", "")) for event in taken(room)] == [(Message, "new")]
        assert not ada.say("newer", timeout=20).replay
        for room in (ada, bob):
            assert texts(room) == [("newer", False)]


def test_a_restart_and_a_move_show_nothing_again(server: RedisServer) -> None:
    """Server and node end together; messages posted before the chat is back are no replays."""
    with cluster(2, NodeSettings(log=server.url)) as running, two_in(running, 5, 20) as (ada, bob):
        stopped(server)
        running.node_of(chat_of(ada)).stop()
        server.start()
        bob.say("meanwhile", timeout=20)
        eventually(lambda: chat_of(ada).node == chat_of(bob).node)
        bob.say("new", timeout=20)
        assert texts(ada) == [("meanwhile", False), ("new", False)]
        assert texts(bob) == [("meanwhile", False), ("new", False)]


@pytest.mark.parametrize("history", [0, 5])
def test_a_log_that_lost_its_end_goes_on_from_there(server: RedisServer, tmp_path: Path, history: int) -> None:
    """Messages that the log still has do not come again; all others are new, also with offsets used before."""
    with cluster(2, NodeSettings(log=server.url)) as running, two_in(running, history, 20) as (ada, bob):
        shutil.copytree(server.folder, tmp_path / "backup")
        bob.say("lost 21")
        bob.say("lost 22")
        assert texts(ada) == [("lost 21", False), ("lost 22", False)] == texts(bob)
        server.kill()
        server.empty()
        shutil.copytree(tmp_path / "backup", server.folder, dirs_exist_ok=True)
        server.start()
        assert bob.say("new 21", timeout=20).offset == 21
        ada.say("new 22", timeout=20)
        for room in (ada, bob):
            events = taken(room)
            assert [event.after for event in events if isinstance(event, Restarted)] == [20]
            messages = [event for event in events if isinstance(event, Message)]
            assert [(message.text, message.replay) for message in messages] == [("new 21", False), ("new 22", False)]


def test_an_empty_log_is_a_new_room(server: RedisServer) -> None:
    """There is an event, later messages are new, and a post that was under way is logged once."""
    with cluster(2, NodeSettings(log=server.url)) as running, two_in(running, 5, 20) as (ada, bob):
        server.kill()
        under_way = ada.post("under way", timeout=30)
        server.empty()
        server.start()
        assert under_way.result(30).offset == 1
        bob.say("and on", timeout=20)
        for room in (ada, bob):
            assert texts(room) == [("under way", False), ("and on", False)]


def test_posts_go_on_through_restarts(server: RedisServer) -> None:
    """The server stops and starts three times while two clients post: each post is logged once and seen once."""
    with cluster(2, NodeSettings(log=server.url)) as running, two_in(running, 0, 1) as rooms:
        stop = threading.Event()
        said: dict[str, list[str]] = {"ada": [], "bob": []}

        def talk(room: Room) -> None:
            mine = said[room._chat.name]
            while not stop.wait(20 * MS):
                mine.append(room.say(f"{room._chat.name} {len(mine)}", timeout=60).text)

        threads = [spawn(f"{room._chat.name} talks", talk, room) for room in rooms]
        for number in range(1, 4):
            eventually(lambda count=5 * number: all(len(mine) > count for mine in said.values()), 30)  # type: ignore[misc]
            stopped(server)
            server.start()
        eventually(lambda: all(len(mine) > 25 for mine in said.values()), 60)
        stop.set()
        join_all(threads, 60)
        for room in rooms:
            seen = texts(room)
            assert not [text for text, replay in seen if replay]
            for name, mine in said.items():
                assert [text for text, _ in seen if text.startswith(name)] == mine


def test_a_restored_file_goes_on_from_its_end(tmp_path: Path) -> None:
    """An older copy of a SQLite log is put in place: its messages do not come again."""
    path = tmp_path / "log.sqlite"
    with cluster(2, NodeSettings(log=f"sqlite://{path}")) as running, two_in(running, 5, 20) as (ada, bob):
        source, backup = sqlite3.connect(path), sqlite3.connect(tmp_path / "backup.sqlite")
        source.backup(backup)
        source.close()
        backup.close()
        bob.say("lost 21")
        assert texts(ada) == [("lost 21", False)] == texts(bob)
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)
        shutil.move(tmp_path / "backup.sqlite", path)
        ada.say("new 21", timeout=20)
        for room in (ada, bob):
            assert texts(room) == [("new 21", False)]
