"""The troubles that a node tells its operator: of its room log, and of its clock."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from parlour.cli import main
from parlour.node import NodeSettings
from parlour.node.cluster import clockwatch, logwatch
from parlour.node.log import LogError, Post, sqlite_file, watched
from parlour.node.log.opening import open_log
from parlour.node.log.retention import Retention
from parlour.node.log.watched import WatchedLog
from parlour.node.rooms.trimmer import Trimmer
from support.cluster import Cluster, cluster, fleet
from support.ports import free_ports
from support.processes import processes
from support.redis_server import missing, redis_server
from support.waiting import MS, eventually

DAY = 86_400


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check and alert sooner than an operator would want."""
    monkeypatch.setattr(logwatch, "INTERVAL", 20 * MS)
    monkeypatch.setattr(clockwatch, "ALERT_AFTER", 20 * MS)


def troubles(running: Cluster) -> list[str]:
    """Return the troubles that the fleet's nodes report."""
    return [trouble for state in fleet(running.address).nodes for trouble in state.report.troubles]


def test_missing_log_is_told_without_posts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The node logs the failure once and its end once, and reports the trouble as long as it lasts."""
    path = tmp_path / "log.sqlite"
    with cluster(1, NodeSettings(log=f"sqlite://{path}")) as running, running.clients("ada", room="lobby") as (ada,):
        ada.say("lobby", "before")
        assert ada.texts(1) == ["before"]
        assert troubles(running) == []
        path.rename(tmp_path / "moved")
        eventually(lambda: troubles(running))
        assert main(["status", "--broker", running.address]) == 0
        said = capfd.readouterr()
        assert "nothing can be said: the room log" in " ".join(said.out.split())
        away = f"the room log is away, nothing can be said: the room log {path} is gone: put it back"
        assert caplog.text.count(away) == 1
        (tmp_path / "moved").rename(path)
        eventually(lambda: not troubles(running))
        eventually(lambda: "the room log is back after" in caplog.text)


@pytest.mark.skipif(bool(missing("redis-server")), reason=missing("redis-server") or "")
def test_killed_redis_is_told(tmp_path: Path) -> None:
    """The trouble is reported from the first missing answer until the server answers again."""
    with redis_server(tmp_path) as server, cluster(1, NodeSettings(log=server.url)) as running:
        eventually(lambda: not any("nothing can be said" in trouble for trouble in troubles(running)))
        server.kill()
        eventually(lambda: any("nothing can be said" in trouble for trouble in troubles(running)))
        server.start()
        eventually(lambda: not any("nothing can be said" in trouble for trouble in troubles(running)))


@pytest.mark.skipif(bool(missing("redis-server")), reason=missing("redis-server") or "")
@pytest.mark.parametrize(
    ("options", "lost"),
    [
        pytest.param(("--save", ""), "everything", id="no persistence"),
        pytest.param(("--save", "60 1"), "all since its last snapshot", id="snapshots"),
        pytest.param(("--appendonly", "yes"), "", id="append-only file"),
    ],
)
def test_redis_persistence_is_told(
    tmp_path: Path, options: tuple[str, ...], lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The node tells, at its start and in reports, what a crash of Redis would lose, if it is more than a moment."""
    with redis_server(tmp_path, *options) as server, cluster(1, NodeSettings(log=server.url)) as running:
        told = f"would lose {lost}" if lost else ""
        eventually(lambda: told in "".join(troubles(running)) and bool(told) == bool(troubles(running)))
        assert (f"the room log {server.url} would lose {lost}" in caplog.text) == bool(lost)


def test_log_files_are_private(tmp_path: Path) -> None:
    """All files of a log, and of the directory beside it, are for the node's user alone."""
    path = tmp_path / "log.sqlite"
    before = os.umask(0)
    try:
        with cluster(1, NodeSettings(log=f"sqlite://{path}")) as running:
            running.nodes[0].log.append("lobby", [Post("s", 1, "ada", 1, "hello")])
            files = sorted(tmp_path.iterdir())
            endings = ("", "-mark", "-people", "-people-shm", "-people-wal", "-shm", "-wal")
            assert [file.name for file in files] == [f"log.sqlite{end}" for end in endings]
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            assert troubles(running) == []
    finally:
        os.umask(before)


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_readable_log_is_told(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also its journal, which has messages; but not if a folder on the path keeps other users out."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data" / "log.sqlite"
        path.parent.mkdir()
        path.parent.chmod(0o755)
        told = f"can read the room log {path}: chmod 600"
        with cluster(1, NodeSettings(log=f"sqlite://{path}")) as running:
            Path(f"{path}{ending}").chmod(0o644)
            assert running.nodes[0].log.remark == ""
            Path(folder).chmod(0o755)
            eventually(lambda: any(told in trouble for trouble in troubles(running)))
            eventually(lambda: told in caplog.text)


def test_old_failure_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed room that nobody has asked for since is not a trouble forever."""
    log = WatchedLog(open_log(f"sqlite://{tmp_path}/log.sqlite"))
    (tmp_path / "log.sqlite").rename(tmp_path / "moved")
    with pytest.raises(LogError):
        log.extent("lobby")
    assert log.failure() is not None
    assert log.errors == 1
    (tmp_path / "moved").rename(tmp_path / "log.sqlite")
    monkeypatch.setattr(watched, "STALE", 10 * MS)
    eventually(lambda: log.failure() is None)
    log.close()


def test_locked_log_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client retries a second after each failure, and each failure lasts as long as the engine waits."""
    clock = [100.0]
    log = WatchedLog(open_log(f"sqlite://{tmp_path}/log.sqlite"))
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as program:
        program.execute("BEGIN IMMEDIATE")
        log.hasten()
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        with pytest.raises(LogError, match="another program holds it"):
            log.append("lobby", [Post("s", 1, "ada", 1, "hello")])
        clock[0] += sqlite_file.BUSY + 1.0 + logwatch.INTERVAL
        assert log.failure() is not None
    log.close()


SKEWED = """
import sys, time
ahead = {ahead} * 10**9
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + ahead / 10**9
time.time_ns = lambda: real_ns() + ahead
from parlour.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_wrong_clock_is_told(tmp_path: Path) -> None:
    """The node tells it on standard error and in its reports."""
    port = free_ports()
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-c", SKEWED.format(ahead=40 * DAY), "node", "--name", "n1", "--broker", address]
    with processes() as started:
        started.broker(port)
        with subprocess.Popen(
            [*command, "--log", f"sqlite://{tmp_path}/log.sqlite"], stderr=subprocess.PIPE, text=True
        ) as skewed:
            try:
                assert skewed.stderr is not None
                line = f"the clock here is 40 days ahead of that of the broker {address}: this node trims no history"
                eventually(lambda: fleet(address).nodes)
                eventually(lambda: fleet(address).nodes[0].report.troubles)
                assert fleet(address).nodes[0].report.troubles[0].startswith(line)
                while line not in skewed.stderr.readline():
                    assert skewed.poll() is None
            finally:
                skewed.kill()


def test_no_trimming_while_clocks_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is far ahead, new messages would be old enough to be trimmed."""
    log = open_log(f"sqlite://{tmp_path}/log.sqlite")
    now = log.now()
    for number, days in enumerate((50, 35, 20, 0), 1):
        log.append("lobby", [Post("s", number, "ada", now - days * DAY * 1000, "hello")])
    clock = clockwatch.ClockWatch()
    rounds: list[int] = []

    def ahead() -> int:
        rounds.append(1)
        return now + 40 * DAY * 1000

    trimmer = Trimmer("trimmer", log, Retention(age=30 * DAY), 1 * MS, clock)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(log, "now", ahead)
            trimmer.start()
            eventually(lambda: len(rounds) > 5)
            assert log.extent("lobby").trimmed == 0
        eventually(lambda: log.extent("lobby").trimmed == 2)
    finally:
        trimmer.stop()
        log.close()


def test_corrected_clock_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The node logs that the clocks agree, and trimming goes on."""
    now = log_now()
    watch = clockwatch.ClockWatch()
    watch.hear("the broker b", now)
    assert watch.agrees
    eventually(lambda: watch.hear("the broker b", now - 3 * 3_600_000) or caplog.text)  # type: ignore[func-returns-value]
    assert not watch.agrees
    watch.hear("the room log", now)
    assert watch.troubles()[0].startswith("the clock here is 3 hours ahead of that of the broker b")
    watch.hear("the broker b", log_now())
    assert watch.agrees
    assert "the clocks agree again: history is trimmed as before" in caplog.text


def test_clock_of_a_gone_broker_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the node would never trim again, although both clocks may have been corrected."""
    watch = clockwatch.ClockWatch()
    watch.hear("the broker b", log_now() - 3 * 3_600_000)
    assert not watch.agrees
    monkeypatch.setattr(clockwatch, "READING_LIFETIME", 10 * MS)
    eventually(lambda: watch.agrees)
    assert watch.troubles() == []


def log_now() -> int:
    """Return the time of a log on this machine."""
    return open_log("memory://").now()
