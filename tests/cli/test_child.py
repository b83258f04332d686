"""The processes that `up` starts: recognised by their start time, stopped, and saved in a state file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parlour.cli import child as child_module
from parlour.cli import state as state_module
from parlour.cli.child import Child, start_time, stop_all
from parlour.cli.signals import Signals
from parlour.cli.state import Setup, StateFolder
from parlour.wire.errors import ParlourError, UnavailableError
from support.waiting import MS, eventually


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Return a function that starts a small Python program and waits for its first line of output."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, code: str) -> Child:
        output = tmp_path / f"{name}.out"
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=file)
        processes.append(process)
        child = Child(name, process.pid, start_time(process.pid), str(output), process)
        eventually(child.last_line)
        return child

    yield start
    for process in processes:
        process.kill()
        process.wait()


def sleeper(before: str = "") -> str:
    """Return a program that runs until it is stopped."""
    return f"import signal, time\n{before}\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)"


def test_a_process_is_known_by_its_start_time() -> None:
    """A running process has a start time; a zombie or an ended process has none."""
    assert start_time(os.getpid()) is not None
    process = subprocess.Popen([sys.executable, "-c", ""])
    # The process stays a zombie until we ask for its status.
    eventually(lambda: start_time(process.pid) is None)
    assert process.wait() == 0


def test_another_process_with_the_same_id(program: Callable[..., Child]) -> None:
    """A process with a saved id but another start time is not signalled."""
    running = program("n1", sleeper())
    stranger = Child("n1", running.pid, "1", None)
    assert not stranger.alive
    assert stop_all([stranger]) == []
    assert running.alive


def test_nodes_stop_before_the_broker(program: Callable[..., Child], tmp_path: Path) -> None:
    """The broker ends after the nodes."""
    journal = tmp_path / "journal"

    def writer(name: str) -> Child:
        note = f"open({str(journal)!r}, 'a').write('{name} '); raise SystemExit"
        return program(name, sleeper(f"def end(*_): {note}\nsignal.signal(signal.SIGINT, end)"))

    assert stop_all([writer("broker"), writer("n1"), writer("n2")]) == []
    *nodes, broker = journal.read_text().split()
    assert (sorted(nodes), broker) == (["n1", "n2"], "broker")


def test_a_process_that_ignores_the_signal(program: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGINT is killed, and named in the result."""
    monkeypatch.setattr(child_module, "STOP_TIMEOUT", 1000 * MS)
    stubborn = program("n1", sleeper("signal.signal(signal.SIGINT, signal.SIG_IGN)"))
    meek = program("n2", sleeper())
    assert [child.name for child in stop_all([stubborn, meek])] == ["n1"]
    assert (stubborn.status, meek.status) == (-signal.SIGKILL, -signal.SIGINT)


def test_the_last_line(tmp_path: Path) -> None:
    """The last line of the output comes without the command's name."""
    output = tmp_path / "out"
    output.write_bytes(b"broker ready\nparlour: port 6000 is \xff in use\n\n")
    assert Child("broker", 1, None, str(output)).last_line() == "port 6000 is \ufffd in use"
    assert Child("broker", 1, None, str(tmp_path / "none")).last_line() == ""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StateFolder:
    """Return an empty state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return StateFolder("127.0.0.1:6000")


def test_the_state_file_finds_running_parts(folder: StateFolder, program: Callable[..., Child]) -> None:
    """Of the saved processes, those that run are found."""
    setup = Setup(2, log="memory://")
    running, ended = program("n1", sleeper()), program("n2", "print('bye')")
    eventually(lambda: not ended.alive)
    with folder.locked():
        folder.save([running, ended], setup, {"n1": 6010})
        assert (folder.load().setup, folder.load().ports) == (setup, {"n1": 6010})
        found = folder.load().running
        assert [(child.name, child.pid, child.alive) for child in found] == [("n1", running.pid, True)]
        assert json.loads((folder.path / "cluster.json").read_text())["broker"] == "127.0.0.1:6000"
        assert stop_all(found) == []
        assert folder.load().running == []
        folder.forget()
    assert sorted(os.listdir(folder.path)) == ["lock"]


def test_a_damaged_state_file(folder: StateFolder) -> None:
    """A damaged state file is an error that names the file."""
    with folder.locked():
        (folder.path / "cluster.json").write_text('{"parts": [{}]}')
        with pytest.raises(ParlourError, match=r"cluster\.json .*: remove it"):
            folder.load()


def test_one_command_at_a_time(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one command has locked the folder, another one waits until its deadline."""
    monkeypatch.setattr(state_module, "LOCK_TIMEOUT", 60 * MS)
    with folder.locked(), pytest.raises(UnavailableError, match="another `parlour up` or `down`"), folder.locked():
        pass
    with folder.locked():
        pass


def test_a_state_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the folder."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ParlourError, match="cannot write to"), StateFolder("127.0.0.1:6000").locked():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_a_wait(number: signal.Signals) -> None:
    """A signal raises nothing by itself; each `wait` after it raises."""
    # Under nohup SIGHUP is ignored, and Signals would leave it so.
    before = signal.signal(number, signal.default_int_handler)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), number)
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    signals.wait(5000 * MS)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_a_childs_end_ends_a_wait() -> None:
    """The end of a child ends a wait at once; without one the wait lasts its whole time."""
    with Signals() as signals:
        process = subprocess.Popen([sys.executable, "-c", ""])
        start = time.monotonic()
        signals.wait(10_000 * MS)
        assert time.monotonic() - start < 9000 * MS
        process.wait()
        start = time.monotonic()
        signals.wait(60 * MS)
        assert time.monotonic() - start >= 50 * MS
