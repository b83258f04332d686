"""A recorded day is played on a running cluster: a perfect verdict where all goes well, and a true one where not."""

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
"""Nicks and texts of the excerpt, by other means than those tested."""
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
    """Do something when a text that ends so is heard in the room, while the block goes on."""
    heard = cluster.chat("listener").join(room).events(20)

    def wait() -> None:
        if any(isinstance(event, Message) and event.text.endswith(text) for event in heard):
            act()

    thread = spawn("listener", wait)
    yield
    join_all([thread], 20)


def test_a_real_excerpt_is_perfect(three: Cluster) -> None:
    """Every nick is a client, every observer at every node hears every line, and the log holds it byte for byte."""
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


def test_nicks_come_and_go_as_the_log_says(three: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in the room at each line is who the log says, with changes of name and returns."""
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


def test_who_only_speaks_keeps_nothing(cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of clients in one process do not each keep what all of them said."""
    rooms: list[Room] = []
    say = stage._say

    def look(room: Room, said: Said) -> Line:
        rooms.append(room)
        return say(room, said)

    monkeypatch.setattr(stage, "_say", look)
    assert verdict(run(cluster, short, "--json"))["perfect"]
    assert max(len(room._backlog) for room in rooms) == 1


def test_batches_lost_between_nodes_lose_nothing(empty_cluster: Cluster) -> None:
    """Nodes that drop half of what they relay still deliver all of it, once and in order."""
    for name in ("n1", "n2", "n3"):
        empty_cluster.add_node(name, relay_loss=0.5)
    result = run(empty_cluster, EXCERPT, "--json", "--observers", "1")
    assert verdict(result)["perfect"], result.output


def test_others_in_the_room_are_no_fault(three: Cluster, short: Path) -> None:
    """What was said before is not heard, what a stranger says in between is told apart, and the verdict is perfect."""
    stranger = three.chat("guest").join("lobby")
    stranger.say("before")
    with when_said(three, "lobby", FIRST, lambda: stranger.say("in between")):
        result = run(three, EXCERPT, "--room", "lobby", "--json")
    assert result.exit_code == 0, result.output
    assert {each["foreign"] for each in verdict(result)["observers"]} == {1}


def test_several_logs_and_a_table(three: Cluster, short: Path) -> None:
    """Logs are played one after the other, each in its room, and people get a table of each."""
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
    """The second log begins where the first one ended, and observers hear each once."""
    told = verdict(run(three, short, short, "--room", "twice", "--observers", "1", "--json"))
    assert told["perfect"] is True
    assert [each["received"] for each in told["observers"]] == [5] * 6
    assert [each["room"] for each in told["logs"]] == ["twice", "twice"]


def test_a_speed_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    """What took two minutes takes as long as the speed makes of it."""
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
    """One fault at one of the observers is told in the verdict and in a line, and the status is 1."""
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


def test_a_message_that_never_comes_is_not_waited_for_for_ever(
    cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line does not come to the observers: after the deadline there is a verdict, and it says so."""
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
    """What comes behind the last line, such as a second copy of it, does not escape the observers."""
    monkeypatch.setattr(stage, "LISTENING", 1.0)
    room = cluster.chat("guest").join("short")

    def say_late() -> None:
        nicks = {"ada", "bob", "[m]", "a|b"}
        eventually(lambda: nicks.isdisjoint(room.who()), what="everybody has left")
        room.say("late")

    with when_said(cluster, "short", "line 5", say_late):
        result = run(cluster, short, "--json")
    assert [each["foreign"] for each in verdict(result)["observers"]] == [1, 1, 1, 1]


def test_a_node_that_stops_is_told(three: Cluster) -> None:
    """Observers of a node that goes hear no more; the rest is played to its end, and the verdict says why it is bad."""
    began = time.monotonic()
    with when_said(three, "ubuntu-excerpt", FIRST, three.nodes[2].stop):
        result = run(three, EXCERPT, "--json")
    # Nobody waits for those who cannot hear.
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


def test_a_verdict_that_nobody_reads_is_the_same(three: Cluster) -> None:
    """Into a closed pipe, a delivery that was not perfect fails the replay in its one line."""
    command = [sys.executable, "-m", "parlour.cli", "replay", "--broker", three.address, "--json", str(EXCERPT)]
    with unread() as output, when_said(three, "ubuntu-excerpt", FIRST, three.nodes[2].stop):
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(rb"parlour: the delivery was not perfect: [^\n]*\n", done.stderr)


def failing(times: int) -> Callable[..., Any]:
    """Return an append that fails so many times before it works."""
    left = [times]
    append = MemoryLog.append

    def fail(*arguments: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise LogError("the disk is full: make room")
        return append(*arguments)

    return fail


def test_a_line_refused_for_the_moment_is_said_again(
    cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room log that fails and recovers costs time, and no line."""
    monkeypatch.setattr(MemoryLog, "append", failing(2))
    assert verdict(run(cluster, short, "--json"))["perfect"] is True


def test_a_replay_that_leads_nowhere_is_given_up(
    cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room log that does not recover ends the replay after some time, with a verdict that says what was said."""
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
def test_a_file_that_is_no_log_is_refused(empty_cluster: Cluster, tmp_path: Path, data: bytes, complaint: str) -> None:
    """What cannot be played is found before anything is played, also before the cluster is asked."""
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    result = run(empty_cluster, EXCERPT, path)
    assert isinstance(result.exception, UsageError)
    assert str(path) in str(result.exception)
    assert complaint in str(result.exception)


def test_logs_without_a_word_are_refused(empty_cluster: Cluster, tmp_path: Path) -> None:
    """Where nobody says anything in any file, there is nothing to judge."""
    (quiet := tmp_path / "quiet.txt").write_text("=== a has joined #c\n")
    (empty := tmp_path / "empty.txt").touch()
    result = run(empty_cluster, quiet, empty)
    assert "no line such as `[12:34] <ada> hello`" in str(result.exception)


def test_logs_of_other_programs(cluster: Cluster, tmp_path: Path) -> None:
    """A day of mIRC and one of Colabti are perfect, a quiet day too; what was not read or was mended is told."""
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


def test_a_file_that_names_no_room_needs_one(empty_cluster: Cluster, tmp_path: Path) -> None:
    """A file's name may be no room's; the user is told which option helps."""
    path = tmp_path / ("x" * 65 + ".txt")
    path.write_text(SHORT)
    with pytest.raises(UsageError, match="needs a --room"):
        CliRunner().invoke(replay, ["--broker", empty_cluster.address, str(path)], catch_exceptions=False)


def test_a_cluster_without_nodes_is_told(empty_cluster: Cluster, short: Path) -> None:
    """There is nobody to observe: that is said at once."""
    result = run(empty_cluster, short)
    assert isinstance(result.exception, UnavailableError)
    assert "start one with `parlour node`" in str(result.exception)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [((64, 4096), 107), ((64, resource.RLIM_INFINITY), 107), ((4096, 4096), None)],
)
def test_enough_files_may_be_open(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int | None) -> None:
    """The soft limit of open files is raised as far as the clients need, and no further."""
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: raised.append(new))
    stage._allow_files(7)
    assert raised == ([] if wanted is None else [(wanted, limits[1])])


def test_too_few_files_are_told_before_anybody_comes(
    cluster: Cluster, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard limit that is too low for the log is one line that names the number to ask for."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 107))
    result = run(cluster, short)
    assert str(result.exception) == (
        "8 clients at once need 108 open files, and 107 are allowed: raise `ulimit -n` to that"
    )


def test_the_command_as_people_run_it(three: Cluster) -> None:
    """In a terminal a bar shows the progress; the table goes to standard output, and nothing else does."""
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
