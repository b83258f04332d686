"""Replays of logs on a running cluster: the verdict is perfect if all goes well, and true if not."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parlour.chaos import replay as stage
from parlour.chaos.chatlog import Said
from parlour.chaos.observer import Observer
from parlour.chaos.replay import replay
from parlour.chaos.verdict import Line
from parlour.client import Message, ParlourError, Room, UnavailableError, UsageError
from parlour.node.log import LogError
from parlour.node.log.memory import MemoryLog
from parlour.runtime.threads import join_all, spawn
from parlour.wire import messages as wire
from support.cluster import Cluster
from support.processes import unread
from support.waiting import eventually

EXCERPT = Path(__file__).parents[1] / "data" / "ubuntu-excerpt.txt"
SAID = re.findall(rb"^\[\d\d:\d\d\] <(\S+)> ?(.*)$", EXCERPT.read_bytes(), re.MULTILINE)
"""Nicks and texts of the log, read without the code under test."""
FIRST = SAID[0][1].decode()
NICKS = {nick for nick, _ in SAID} | set(
    re.findall(rb"^=== (?:\S+ is now known as )?(\S+)(?: \[\S+\]  has joined #ubuntu)?$", EXCERPT.read_bytes(), re.M)
)

SHORT = "".join(f"[12:00] <{nick}> line {n}\n" for n, nick in enumerate(["ada", "bob", "ada", "[m]", "a|b"], 1))


@pytest.fixture
def three(cluster: Cluster) -> Cluster:
    """Run a broker with three nodes that share a room log."""
    cluster.add_node("n3")
    return cluster


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Write a log of five lines."""
    path = tmp_path / "short.txt"
    path.write_text(SHORT)
    return path


def run(cluster: Cluster, *arguments: object) -> Result:
    """Run `parlour replay` in this process."""
    return CliRunner().invoke(replay, ["--broker", cluster.address, *map(str, arguments)])


def verdict(result: Result) -> dict[str, Any]:
    """Return the JSON that was printed."""
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@contextmanager
def when_said(cluster: Cluster, room: str, text: str, act: Callable[[], object]) -> Iterator[None]:
    """During the block, call a function when a text with this ending is heard in the room."""
    heard = cluster.chat("listener").join(room).events(20)

    def wait() -> None:
        if any(isinstance(event, Message) and event.text.endswith(text) for event in heard):
            act()

    thread = spawn("listener", wait)
    yield
    join_all([thread], 20)


def test_real_log(three: Cluster) -> None:
    """Every nick is a client, every observer at every node hears every line, and the log has its bytes."""
    result = run(three, EXCERPT, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    told = verdict(result)
    assert told["perfect"] is True
    assert told["clients"] == len(NICKS) == 33
    assert told["lines"] == told["said"] == told["acknowledged"] == len(SAID) == 29
    assert 0 < told["latency_p50"] <= told["latency_p99"]
    (log,) = told["logs"]
    assert (log["file"], log["room"], log["failures"]) == (str(EXCERPT), "ubuntu-excerpt", [])
    assert sorted(each["node"] for each in told["observers"]) == ["n1", "n1", "n2", "n2", "n3", "n3"]
    for each in told["observers"]:
        assert each["received"] == len(SAID)
        assert {each[fault] for fault in ("lost", "duplicated", "reordered", "differing", "foreign")} == {0}
        assert 0 < each["latency_p50"] <= each["latency_p99"]
    room = three.chat("reader").join("ubuntu-excerpt", history=1000)
    eventually(lambda: room.who() == ["reader"], what="everybody has left")
    events = room.events(5)
    logged = [next(events) for _ in range(room.replays)]
    assert [(event.by.encode(), event.text.encode()) for event in logged if isinstance(event, Message)] == SAID


def test_nicks_come_and_go(three: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each line those nicks are in the room that the log tells, with changes of name and returns."""
    path = tmp_path / "day.txt"
    path.write_text(
        "=== bob [host]  has joined #c\n[12:00] <ada> one\n"
        "=== ada is now known as eve\n=== bob [host]  has left #c []\n"
        "[12:00] <eve> two\n=== bob [host]  has joined #c\n[12:00] <bob> three\n=== bob was kicked off #c by eve (no)\n"
        "[12:00] <eve> four\n"
    )
    here = iter([{"bob", "ada"}, {"eve"}, {"eve", "bob"}, {"eve"}])
    watcher = three.chat("watcher").join("day")
    say = stage._say

    def look(room: Room, said: Said) -> Line:
        wanted = next(here)
        eventually(lambda: wanted == {"ada", "bob", "eve"} & set(watcher.who()), what=f"{wanted} are here")
        return say(room, said)

    monkeypatch.setattr(stage, "_say", look)
    told = verdict(run(three, path, "--json", "--observers", "1"))
    assert told["perfect"]
    assert told["clients"] == 3


def test_nicks_that_look_alike(three: Cluster, tmp_path: Path) -> None:
    """In IRC they may be different people: the second one comes under a free name."""
    path = tmp_path / "day.txt"
    path.write_text("[12:00] <M1dn1ght> one\n[12:00] <m1dn1ght> two\n[12:00] <M1dn1ght> three\n")
    result = run(three, path, "--json", "--observers", "1")
    assert result.exit_code == 0, result.output
    told = verdict(result)
    assert (told["perfect"], told["clients"]) == (True, 2)


def test_nicks_keep_no_events(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients of hundreds of nicks in one process do not each keep all lines."""
    rooms: list[Room] = []
    say = stage._say

    def look(room: Room, said: Said) -> Line:
        rooms.append(room)
        return say(room, said)

    monkeypatch.setattr(stage, "_say", look)
    assert verdict(run(cluster, short, "--json"))["perfect"]
    assert max(len(room._backlog) for room in rooms) == 1


def test_lossy_relay(empty_cluster: Cluster) -> None:
    """Nodes that drop half of their batches still deliver every line, once and in order."""
    for name in ("n1", "n2", "n3"):
        empty_cluster.add_node(name, relay_loss=0.5)
    result = run(empty_cluster, EXCERPT, "--json", "--observers", "1")
    assert verdict(result)["perfect"], result.output


def test_other_members(three: Cluster, short: Path) -> None:
    """Observers do not hear earlier lines, lines of others count as foreign, and the verdict is perfect."""
    stranger = three.chat("guest").join("lobby")
    stranger.say("before")
    with when_said(three, "lobby", FIRST, lambda: stranger.say("in between")):
        result = run(three, EXCERPT, "--room", "lobby", "--json")
    assert result.exit_code == 0, result.output
    assert {each["foreign"] for each in verdict(result)["observers"]} == {1}


def test_several_logs(three: Cluster, short: Path) -> None:
    """Logs are played one after the other, each in its room, and each has a table."""
    result = run(three, short, EXCERPT, "--observers", "1")
    assert result.exit_code == 0, result.output
    assert "short: 4 clients, 5 said, 5 acknowledged in " in result.stdout
    assert "ubuntu-excerpt: 33 clients, 29 said, 29 acknowledged in " in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("n")]
    assert [row[:7] for row in rows if row[0] == "n2"] == [
        ["n2", "5", "0", "0", "0", "0", "0"],
        ["n2", "29", "0", "0", "0", "0", "0"],
    ]


def test_several_logs_in_one_room(three: Cluster, short: Path) -> None:
    """The second log begins when the first one ends, and observers hear each line once."""
    told = verdict(run(three, short, short, "--room", "twice", "--observers", "1", "--json"))
    assert told["perfect"] is True
    assert [each["received"] for each in told["observers"]] == [5] * 6
    assert [each["room"] for each in told["logs"]] == ["twice", "twice"]


def test_speed(cluster: Cluster, tmp_path: Path) -> None:
    """Two minutes of the log take as long as the speed tells."""
    path = tmp_path / "slow.txt"
    path.write_text("[12:00] <ada> one\n[12:02] <ada> two\n")
    assert 0.6 <= verdict(run(cluster, path, "--speed", "200", "--json"))["seconds"] < 5


FAULTS: dict[str, Callable[[list[Line]], list[Line]]] = {
    "lost": lambda heard: heard[:1] + heard[2:],
    "duplicated": lambda heard: [*heard, heard[1]],
    "reordered": lambda heard: [*heard[:2], heard[3], heard[2], *heard[4:]],
    "differing": lambda heard: [heard[0]._replace(text="line 1 "), *heard[1:]],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_the_replay(
    cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """One fault at one observer is in the verdict and in the error, and the status is 1."""
    hear_out = Observer.hear_out

    def spoil(each: Observer, offset: int, deadline: float) -> None:
        hear_out(each, offset, deadline)
        if each.node == "n2":
            each.heard[:] = FAULTS[fault](each.heard)

    monkeypatch.setattr(Observer, "hear_out", spoil)
    result = run(cluster, short, "--json", "--observers", "1")
    assert isinstance(result.exception, ParlourError)
    assert str(result.exception) == f"the delivery was not perfect: 1 {fault}"
    assert verdict(result)["perfect"] is False
    assert [each[fault] for each in verdict(result)["observers"]] == [0, 1]


def test_missing_line_ends_at_the_deadline(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last line does not come, there is a verdict after the deadline, which says so."""
    monkeypatch.setattr(stage, "HEARD", 0.3)
    hear = Observer._hear

    def deaf(each: Observer, message: wire.NodeMessage) -> None:
        if not (isinstance(message, wire.Message) and message.text == "line 5"):
            hear(each, message)

    monkeypatch.setattr(Observer, "_hear", deaf)
    result = run(cluster, short, "--json")
    assert str(result.exception) == "the delivery was not perfect: 4 lost"
    assert [each["lost"] for each in verdict(result)["observers"]] == [1, 1, 1, 1]


def test_observers_listen_on(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observers hear a message behind the last line, such as a second copy."""
    monkeypatch.setattr(stage, "LISTENING", 1.0)
    room = cluster.chat("guest").join("short")

    def say_late() -> None:
        nicks = {"ada", "bob", "[m]", "a|b"}
        eventually(lambda: nicks.isdisjoint(room.who()), what="everybody has left")
        room.say("late")

    with when_said(cluster, "short", "line 5", say_late):
        result = run(cluster, short, "--json")
    assert [each["foreign"] for each in verdict(result)["observers"]] == [1, 1, 1, 1]


def test_stopped_node(three: Cluster) -> None:
    """Observers at a stopped node hear no more; the rest is played, and the verdict tells the reason."""
    began = time.monotonic()
    with when_said(three, "ubuntu-excerpt", FIRST, three.nodes[2].stop):
        result = run(three, EXCERPT, "--json")
    # The replay does not wait for observers that cannot hear.
    assert time.monotonic() - began < 0.5 * stage.HEARD
    told = verdict(result)
    assert isinstance(result.exception, ParlourError)
    assert told["perfect"] is False
    assert told["said"] <= told["lines"]
    ended = [
        failure for failure in told["logs"][0]["failures"] if failure.startswith("an observer at n3 heard no more")
    ]
    assert len(ended) == 2
    for each in told["observers"]:
        assert (each["lost"] > 0) == (each["node"] == "n3")


def test_verdict_into_a_closed_pipe(three: Cluster) -> None:
    """If nobody reads the tables, a bad delivery still fails with its one line."""
    command = [sys.executable, "-m", "parlour.cli", "replay", "--broker", three.address, "--json", str(EXCERPT)]
    with unread() as output, when_said(three, "ubuntu-excerpt", FIRST, three.nodes[2].stop):
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(rb"parlour: the delivery was not perfect: [^\n]*\n", done.stderr)


def failing(times: int) -> Callable[..., Any]:
    """Return an `append` that fails so many times, and then works."""
    left = [times]
    append = MemoryLog.append

    def fail(*arguments: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise LogError("the disk is full: make room")
        return append(*arguments)

    return fail


def test_failing_log_recovers(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room log that fails and recovers costs time, and no line."""
    monkeypatch.setattr(MemoryLog, "append", failing(2))
    assert verdict(run(cluster, short, "--json"))["perfect"] is True


def test_failing_log_ends_the_replay(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room log that does not recover ends the replay after some time, with a verdict on the lines so far."""
    monkeypatch.setattr(stage, "ACKNOWLEDGED", 0.2)
    monkeypatch.setattr(stage, "PATIENCE", 0.01)
    monkeypatch.setattr(MemoryLog, "append", failing(10**9))
    result = run(cluster, short, "--json")
    told = verdict(result)
    assert (told["lines"], told["said"], told["acknowledged"], told["perfect"]) == (5, 1, 0, False)
    assert "5 not acknowledged; short.txt:1: ada: " in str(result.exception)
    assert "the disk is full" in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"[12:00] <a> caf\xe9 noir\n", ": 1 of 1 lines are not utf-8 (line 1)"),
        (b"no log\n", "holds no line such as"),
        (b"[12:00] <a> one\nno log\n", ": 1 of 2 lines fit no format (line 2)"),
    ],
)
def test_other_files_are_refused(empty_cluster: Cluster, tmp_path: Path, data: bytes, complaint: str) -> None:
    """An unplayable file is refused before anything is played, and before the cluster is asked."""
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    result = run(empty_cluster, EXCERPT, path)
    assert isinstance(result.exception, UsageError)
    assert str(path) in str(result.exception)
    assert complaint in str(result.exception)


def test_logs_without_lines_are_refused(empty_cluster: Cluster, tmp_path: Path) -> None:
    """If no file has a line, there is nothing to judge."""
    (quiet := tmp_path / "quiet.txt").write_text("=== a has joined #c\n")
    (empty := tmp_path / "empty.txt").touch()
    result = run(empty_cluster, quiet, empty)
    assert "no line such as `[12:34] <ada> hello`" in str(result.exception)


def test_logs_of_other_programs(cluster: Cluster, tmp_path: Path) -> None:
    """Logs of mIRC and Colabti, and a quiet one, are perfect; unread and mended lines are told."""
    (mirc := tmp_path / "mirc.txt").write_bytes(
        b"Session Ident: #chan\r\n[10:00] * Now talking in #chan\r\n[10:00] * Joins: bob (~b@host)\r\n"
        + b"[10:01] <@ada> hi\r\n" * 59
        + b"[10:01] * bob waves\r\n"
        + b"[10:02] <ada> caf\xc3\r\n?\r\n[10:02] * ada has quit IRC (x)\r\n"
    )
    (colabti := tmp_path / "colabti.txt").write_text(
        "[10:00:00] <ada> hi\n[10:01:00] *** ada is now known as ada_\n[23:04:05] <ada_> back\n"
    )
    (quiet := tmp_path / "quiet.txt").write_text("[10:00] * Joins: bob (~b@host)\n")
    told = verdict(run(cluster, mirc, colabti, quiet, "--json", "--observers", "1"))
    assert told["perfect"] is True
    assert [(log["clients"], log["lines"]) for log in told["logs"]] == [(2, 61), (2, 2), (1, 0)]
    assert (told["unread"], told["logs"][0]["unread_lines"], told["logs"][0]["mended_lines"]) == (1, [65], [64])
    table = run(cluster, mirc, "--observers", "1").stdout
    assert "\n1 unread: line 65 " in table
    assert "\n1 with U+FFFD for a broken character: line 64 " in table


def test_file_name_that_is_no_room(empty_cluster: Cluster, tmp_path: Path) -> None:
    """If a file's name cannot be a room's, the error names the option that helps."""
    path = tmp_path / ("x" * 65 + ".txt")
    path.write_text(SHORT)
    with pytest.raises(UsageError, match="needs a --room"):
        CliRunner().invoke(replay, ["--broker", empty_cluster.address, str(path)], catch_exceptions=False)


def test_cluster_without_nodes(empty_cluster: Cluster, short: Path) -> None:
    """Without nodes there is nothing to observe; the error comes at once."""
    result = run(empty_cluster, short)
    assert isinstance(result.exception, UnavailableError)
    assert "start one with `parlour node`" in str(result.exception)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [((64, 4096), 107), ((64, resource.RLIM_INFINITY), 107), ((4096, 4096), None)],
)
def test_limit_of_open_files_is_raised(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int | None
) -> None:
    """The soft limit of open files is raised as far as the clients need, and no further."""
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: raised.append(new))
    stage._allow_files(7)
    assert raised == ([] if wanted is None else [(wanted, limits[1])])


def test_limit_of_open_files_is_too_low(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the hard limit is too low, the error is one line that names the necessary limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 107))
    result = run(cluster, short)
    assert str(result.exception) == (
        "8 clients at once need 108 open files, and 107 are allowed: raise `ulimit -n` to that"
    )


def test_command_in_a_terminal(three: Cluster) -> None:
    """In a terminal a bar shows the progress; standard output gets the table and nothing else."""
    master, slave = os.openpty()
    try:
        command = [sys.executable, "-m", "parlour.cli", "replay", str(EXCERPT), "--broker", three.address]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            timeout=30,
            check=False,
        )
        assert b"ubuntu-excerpt" in os.read(master, 1 << 16)
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 8
    assert b"29 said, 29 acknowledged" in done.stdout
