"""The reason why posts wait, as a program, `send` and a person at a terminal get it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from parlour.client import Chat, Room
from parlour.node import NodeSettings
from support.cluster import Cluster
from support.cluster import cluster as cluster_of
from support.redis_server import MISSING, redis_server
from support.tmux import MISSING as NO_TMUX
from support.tmux import Tmux
from support.waiting import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the room log."""
    return tmp_path / "log.sqlite"


@pytest.fixture
def one(path: Path) -> Iterator[Cluster]:
    """Run a broker and a node whose log is a file that can be moved away."""
    with cluster_of(1, NodeSettings(log=f"sqlite://{path}", report_interval=0.1)) as running:
        yield running


def test_a_room_tells_why_its_posts_wait(one: Cluster, path: Path) -> None:
    """The words of the node while the log is away; None before that, and after the post is logged."""
    room = one.chat("ada").join("lobby")
    room.say("before")
    assert room.trouble is None
    away = path.rename(path.with_name("away.sqlite"))
    post = room.post("held", 60)
    assert "put it back" in str(eventually(lambda: room.trouble, what="the room tells why"))
    behind = room.post("behind it", 60)
    away.rename(path)
    assert [each.result(10).text for each in (post, behind)] == ["held", "behind it"]
    assert room.trouble is None


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_room_tells_that_the_log_server_is_away(tmp_path: Path) -> None:
    """Redis is killed and started again: the trouble names its address, and ends when the post is logged."""
    with (
        redis_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server,
        cluster_of(1, NodeSettings(log=server.url, report_interval=0.1)) as one,
    ):
        room = one.chat("ada").join("lobby")
        room.say("before")
        server.kill()
        post = room.post("held", 60)
        assert str(server.port) in str(eventually(lambda: room.trouble, 15, what="the room tells why"))
        server.start()
        assert post.result(20).text == "held"
        assert room.trouble is None


def joined_without_log(chat: Chat, path: Path, one: Cluster) -> Room:
    """Return a room that lost its connection and that no node lets the chat into."""
    room = chat.join("lobby")
    room.say("before")
    with closing(sqlite3.connect(path)) as breaker:
        breaker.execute("ALTER TABLE rooms RENAME TO elsewhere")
        breaker.commit()
    one.nodes[0].stop()
    return room


def test_a_lost_connection_is_a_trouble(one: Cluster, path: Path) -> None:
    """First there is no node; then one that lets no client into the room; then all is well."""
    room = joined_without_log(one.chat("ada"), path, one)
    post = room.post("held", 60)
    assert eventually(lambda: room.trouble, what="the loss is told")
    one.add_node("n2")
    eventually(lambda: room.trouble and "room log" in room.trouble, 10, what="why the room cannot be joined is told")
    with closing(sqlite3.connect(path)) as mender:
        mender.execute("ALTER TABLE elsewhere RENAME TO rooms")
        mender.commit()
    assert post.result(20).text == "held"
    assert room.trouble is None


def chat(one: Cluster) -> list[str]:
    """Return the command by which ada chats in the lobby."""
    broker = ["--broker", one.address]
    return [sys.executable, "-m", "parlour.cli", "chat", *broker, "--name", "ada", "--room", "lobby"]


@pytest.mark.skipif(bool(NO_TMUX), reason=NO_TMUX)
def test_a_person_sees_waiting_lines_and_the_reason(one: Cluster, path: Path, tmux: Tmux) -> None:
    """Lines typed while the log is away stand above the prompt until they are sent, or the person leaves."""
    pane = tmux.open(*chat(one))
    tmux.shows(pane, "lobby>")
    away = path.rename(path.with_name("away.sqlite"))
    tmux.type(pane, "are you there?", "Enter")
    tmux.shows(pane, "… are you there?")
    tmux.type(pane, "hello?", "Enter")
    tmux.shows(pane, "… hello?")
    eventually(lambda: [line for line in tmux.lines(pane) if line.startswith("not sent yet: the room log")])
    away.rename(path)
    tmux.shows(pane, " ada: hello?")
    eventually(lambda: tmux.lines(pane)[-1] == "lobby>", what="nothing waits")
    assert [line.split(" ", 1)[1] for line in tmux.lines(pane)[-3:-1]] == ["ada: are you there?", "ada: hello?"]
    path.rename(away)
    tmux.type(pane, "and now?", "Enter")
    tmux.shows(pane, "… and now?")
    tmux.press(pane, "C-d")
    tmux.shows(pane, "-- waiting for 1 of your lines to be sent; Ctrl-C leaves at once")
    tmux.press(pane, "C-c")
    tmux.shows(pane, "-- may not have been sent: and now?")
    tmux.shows(pane, "exit=1")


@pytest.mark.skipif(bool(NO_TMUX), reason=NO_TMUX)
def test_input_without_a_prompt_goes_to_the_next(one: Cluster, path: Path, tmux: Tmux) -> None:
    """The terminal must not echo it into the output; after the chat it echoes again."""
    pane = tmux.open(*chat(one))
    tmux.shows(pane, "lobby>")
    away = path.rename(path.with_name("away.sqlite"))
    tmux.type(pane, "hello?", "Enter")
    tmux.shows(pane, "… hello?")
    tmux.type(pane, "/leave", "Enter")
    tmux.shows(pane, "-- waiting for 1 of your lines to be sent; Ctrl-C leaves at once")
    tmux.type(pane, "/join den")
    away.rename(path)
    tmux.shows(pane, "(no room)> /join den")
    assert not any(line.startswith("/join") for line in tmux.lines(pane))
    tmux.press(pane, "Enter")
    tmux.shows(pane, "den>")
    tmux.press(pane, "C-d")
    tmux.shows(pane, "exit=0")
    tmux.type(pane, "echoed")
    tmux.shows(pane, "echoed")


def test_a_chat_in_a_pipe_tells_once_why_a_line_waits(one: Cluster, path: Path) -> None:
    """Output to a pipe cannot be removed again, so one line says it after two seconds."""
    with subprocess.Popen(chat(one), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while process.stdout.readline() != "-- 1 in lobby: ada\n":
            pass
        away = path.rename(path.with_name("away.sqlite"))
        process.stdin.write("hello?\n")
        process.stdin.flush()
        told = process.stdout.readline()
        assert told.startswith("-- not sent yet: hello? (the room log ")
        away.rename(path)
        assert process.stdout.readline().endswith(" ada: hello?\n")
        assert process.communicate(timeout=20)[0] == ""
        assert process.returncode == 0


def test_send_waits_for_a_room_that_cannot_be_joined_yet(one: Cluster, path: Path) -> None:
    """The log is away when it begins, as when a build and a server start at the same time."""
    with closing(sqlite3.connect(path)) as breaker:
        breaker.execute("ALTER TABLE rooms RENAME TO elsewhere")
        breaker.commit()
        command = [sys.executable, "-m", "parlour.cli", "send", "--broker", one.address, "--name", "bot"]
        with subprocess.Popen([*command, "--room", "lobby", "hello"], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("parlour: cannot send yet: the room log ")
            breaker.execute("ALTER TABLE elsewhere RENAME TO rooms")
            breaker.commit()
            assert process.communicate(timeout=20)[1] == ""
            assert process.returncode == 0


def test_send_tells_why_a_line_waits(one: Cluster, path: Path) -> None:
    """The log is away and comes back while `send` waits: both are reported, and the status is 0."""
    one.chat("ada").join("lobby").say("before")
    away = path.rename(path.with_name("away.sqlite"))
    command = [sys.executable, "-m", "parlour.cli", "send", "--broker", one.address, "--name", "bot", "--room", "lobby"]
    with subprocess.Popen([*command, "--", "hello?"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith("parlour: message 1 is not sent yet: the room log ")
        away.rename(path)
        assert process.communicate(timeout=20)[1] == ""
        assert process.returncode == 0
