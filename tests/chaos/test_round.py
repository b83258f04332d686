"""Whole rounds with real processes: the verdict can be perfect, can fail, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parlour.chaos.schedule import Kind
from support.processes import run
from support.redis_server import MISSING
from support.waiting import MS, eventually


def chaos(*arguments: str, clients: int = 12, rooms: int = 2, seed: int = 1) -> tuple[int, dict[str, Any], str]:
    """Play a round; return its status, its outcome and what it said on standard error."""
    sizes = ["--clients", str(clients), "--rooms", str(rooms), "--seed", str(seed)]
    done = run("chaos", "--json", *sizes, *arguments, timeout=80)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_without_faults_all_is_perfect() -> None:
    """The control: nothing is done, and nothing is found."""
    status, outcome, errors = chaos("--fault", "none", "--duration", "1", clients=130)  # in two processes
    assert (status, errors) == (0, "")
    assert outcome["perfect"]
    assert outcome["faults"] == []
    assert outcome["total"]["said"] == outcome["total"]["acknowledged"] == outcome["total"]["logged"] > 100


def test_without_resume_the_verdict_fails() -> None:
    """The other control: clients that lose their place when they come back miss what was said, and that is found."""
    # Whether something is said in the moments when somebody is away is a matter of chance, so there is a second one.
    for seed in (5, 4, 1, 2):
        status, outcome, errors = chaos(
            "--fault", "cut-connection,kill-node", "--break", "resume", "--duration", "3", seed=seed
        )
        if status:
            break
    assert status == 1
    assert not outcome["perfect"]
    assert outcome["total"]["lost"] > 0
    assert f"{outcome['total']['lost']} lost" in errors
    assert errors.startswith(f"parlour: not perfect with seed {seed}: ")


def test_a_round_of_everything_is_perfect() -> None:
    """Nodes and brokers die, connections and links are cut, the log is moved away and put back: nothing is lost."""
    status, outcome, errors = chaos("--duration", "30", clients=30, rooms=3, seed=1032)
    assert outcome["failures"] == []
    assert (status, errors) == (0, "")
    assert {fault["fault"] for fault in outcome["faults"]} == set(Kind) - {Kind.RESTART_REDIS}
    assert outcome["reconnected"] > 0
    assert outcome["total"]["said"] > 3000


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_round_on_redis_is_perfect() -> None:
    """The log's own server is killed and comes back: what was acknowledged is there, and the rest is said again."""
    status, outcome, errors = chaos(
        "--log", "redis://", "--fault", "restart-redis,kill-node", "--duration", "3.5", seed=6
    )
    assert outcome["failures"] == []
    assert (status, errors) == (0, "")
    assert {fault["fault"] for fault in outcome["faults"]} == {"restart-redis", "kill-node"}


@pytest.mark.parametrize("seed", [pytest.param(2, id="silent"), pytest.param(6, id="closed")])
def test_two_nodes_that_never_hear_each_other_are_perfect(seed: int) -> None:
    """Of two nodes neither ever reaches the other's relay: all is late by a second or two, and nothing is missing."""
    status, outcome, errors = chaos("--nodes", "2", "--fault", "cut-relay", "--duration", "4", seed=seed)
    assert outcome["failures"] == []
    assert (status, errors) == (0, "")
    (fault,) = outcome["faults"]
    assert (fault["fault"], fault["clients"]) == ("cut-relay", 12)
    assert fault["lasted"] > 3.5
    assert outcome["total"]["said"] > 400


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([], id="locked"),
        pytest.param(["--log", "redis://"], id="halted", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING)),
    ],
)
def test_a_round_whose_log_does_not_answer_is_perfect(log: list[str]) -> None:
    """For five seconds and more nothing can be said; what was meant to be said then is said when the log is back."""
    status, outcome, errors = chaos(*log, "--fault", "suspend-log", "--duration", "2.5", seed=143)
    assert outcome["failures"] == []
    assert (status, errors) == (0, "")
    (fault,) = outcome["faults"]
    assert fault["lasted"] > 5
    assert outcome["total"]["said"] > 400


@contextmanager
def begun(folder: Path, mark: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a round with its files below a folder, and give it when such a file is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "parlour.cli", "chaos", "--clients", "5", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            eventually(lambda: list(folder.glob(f"parlour-chaos-*/{mark}")), 30, "it has begun")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mark", ["*.err", "rooms.sqlite"])
def test_a_round_that_is_ended_leaves_nothing(number: signal.Signals, mark: str, tmp_path: Path) -> None:
    """On Ctrl-C, while it starts or later, all processes end and all files are removed."""
    with begun(tmp_path, mark, "--fault", "none") as process:
        process.send_signal(number)
        printed, errors = process.communicate(timeout=30_000 * MS)
    assert (process.returncode, printed, errors.strip()) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("log", "mark"),
    [
        pytest.param([], "rooms.sqlite", id="sqlite"),
        pytest.param(
            ["--log", "redis://"], "redis.log", id="redis", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING)
        ),
    ],
)
def test_a_round_that_is_killed_leaves_nothing(log: list[str], mark: str, tmp_path: Path) -> None:
    """Even if it has no time to end them, what it started ends by itself, and its files are removed."""
    with begun(tmp_path, mark, *log) as process:
        process.kill()
        process.communicate(timeout=30_000 * MS)
    eventually(lambda: not _started(tmp_path), 15, "what it started has ended")
    eventually(lambda: not list(tmp_path.iterdir()), 15, "its files are gone")


def test_clients_that_die_are_told(tmp_path: Path) -> None:
    """A process of clients that ends in the middle of it is no parlour's fault, but no verdict either."""
    with begun(tmp_path, "rooms.sqlite", "--fault", "none", "--duration", "1") as process:
        (clients,) = eventually(lambda: _started(tmp_path, "parlour.chaos.client_process"), 15, "they start")
        eventually(lambda: len(list(Path(f"/proc/{clients}/task").iterdir())) > 10, 15, "they come in")
        os.kill(int(clients), signal.SIGKILL)
        printed, errors = process.communicate(timeout=90_000 * MS)
    assert (process.returncode, printed) == (1, "")
    assert errors.startswith("parlour: clients-1 ")
    assert list(tmp_path.iterdir()) == []


def _started(folder: Path, word: str = "") -> list[str]:
    """Return the processes that were started with files below this folder, and have this word in their command."""
    mark = f"TMPDIR={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0") and word in (process / "cmdline").read_text():
                found.append(process.name)
        except OSError:
            continue  # It has ended meanwhile.
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "kill-everything"], "'kill-everything' is no fault: there are kill-node"),
        (["--fault", "restart-redis"], "say --log redis://"),
        (["--fault", "suspend-log", "--log", "sqlite:///nowhere"], "needs a log of our own"),
        (["--fault", "cut-relay", "--nodes", "1"], "cut-relay needs two nodes"),
        (["--log", "memory://"], "a log in memory is not shared by processes"),
        (["--clients", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_played_is_said(arguments: list[str], said: str) -> None:
    """Wrong usage is one line, and nothing is started."""
    done = run("chaos", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("log", "said"),
    [("loft", "a room log is memory://"), ("sqlite:///nonexistent/rooms.sqlite", "/nonexistent/rooms.sqlite")],
)
def test_a_log_that_cannot_be_opened_ends_the_round_at_once(log: str, said: str) -> None:
    """A node's words are told, and it is not started again: nothing was done to it that would pass."""
    done = run("chaos", "--log", log)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"parlour: n\d did not start: .*{re.escape(said)}.*\n", done.stderr)
