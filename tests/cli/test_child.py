"""Processes that `up` starts: known by their start time, heard, stopped, written down."""

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
from parlour.cli import record as record_module
from parlour.cli.child import Child, start_time, stop_all
from parlour.cli.record import Record, Setup
from parlour.cli.signals import Signals
from parlour.wire.errors import ParlourError, UnavailableError
from support.waiting import MS, eventually


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Return a starter of small Python programs that are ready when they have printed a line."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, code: str) -> Child:
        output = tmp_path / f"{name}.out"
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=file)
        processes.append(process)
        child = Child(name, process.pid, start_time(process.pid), str(output), process)
        eventually(child.last_words)
        return child

    yield start
    for process in processes:
        process.kill()
        process.wait()


def sleeper(before: str = "") -> str:
    """Return a program that waits to be stopped."""
    return f"import signal, time\n{before}\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)"


def test_a_process_is_known_by_its_start_time() -> None:
    """A running process has a start time, one that is gone or no longer waited for has none."""
    assert start_time(os.getpid()) is not None
    process = subprocess.Popen([sys.executable, "-c", ""])
    # It stays a zombie until we ask for its status.
    eventually(lambda: start_time(process.pid) is None)
    assert process.wait() == 0


def test_another_process_of_the_same_id_is_left_alone(program: Callable[..., Child]) -> None:
    """A recorded id that has come back into use is not taken for ours."""
    running = program("n1", sleeper())
    stranger = Child("n1", running.pid, "1", None)
    assert not stranger.alive
    assert stop_all([stranger]) == []
    assert running.alive


def test_nodes_stop_before_the_broker(program: Callable[..., Child], tmp_path: Path) -> None:
    """The broker is still there while the nodes leave."""
    journal = tmp_path / "journal"

    def writer(name: str) -> Child:
        note = f"open({str(journal)!r}, 'a').write('{name} '); raise SystemExit"
        return program(name, sleeper(f"def end(*_): {note}\nsignal.signal(signal.SIGINT, end)"))

    assert stop_all([writer("broker"), writer("n1"), writer("n2")]) == []
    *nodes, broker = journal.read_text().split()
    assert (sorted(nodes), broker) == (["n1", "n2"], "broker")


def test_the_stubborn_are_killed(program: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGINT is gone nevertheless, and named."""
    monkeypatch.setattr(child_module, "STOP_TIMEOUT", 100 * MS)
    stubborn = program("n1", sleeper("signal.signal(signal.SIGINT, signal.SIG_IGN)"))
    meek = program("n2", sleeper())
    assert [child.name for child in stop_all([stubborn, meek])] == ["n1"]
    assert (stubborn.status, meek.status) == (-signal.SIGKILL, -signal.SIGINT)


def test_last_words_are_the_last_line(tmp_path: Path) -> None:
    """What a child said last is its error, without the command's name."""
    output = tmp_path / "out"
    output.write_bytes(b"broker ready\nparlour: port 6000 is \xff in use\n\n")
    assert Child("broker", 1, None, str(output)).last_words() == "port 6000 is \ufffd in use"
    assert Child("broker", 1, None, str(tmp_path / "none")).last_words() == ""


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    """Return a record in a state folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Record("127.0.0.1:6000")


def test_a_record_finds_what_still_runs(record: Record, program: Callable[..., Child]) -> None:
    """Of the processes written down those are found that run."""
    setup = Setup(2, log="memory://")
    running, ended = program("n1", sleeper()), program("n2", "print('bye')")
    eventually(lambda: not ended.alive)
    with record.locked():
        record.save([running, ended], setup, {"n1": 6010})
        assert (record.load().setup, record.load().ports) == (setup, {"n1": 6010})
        found = record.load().running
        assert [(child.name, child.pid, child.alive) for child in found] == [("n1", running.pid, True)]
        assert json.loads((record.folder / "cluster.json").read_text())["broker"] == "127.0.0.1:6000"
        assert stop_all(found) == []
        assert record.load().running == []
        record.forget()
    assert sorted(os.listdir(record.folder)) == ["lock"]


def test_a_record_that_is_none_says_which_to_remove(record: Record) -> None:
    """A damaged record is an error that names the file."""
    with record.locked():
        (record.folder / "cluster.json").write_text('{"parts": [{}]}')
        with pytest.raises(ParlourError, match=r"cluster\.json .*: remove it"):
            record.load()


def test_one_command_at_a_time(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a command holds the folder another one waits, and gives up at its deadline."""
    monkeypatch.setattr(record_module, "LOCK_TIMEOUT", 60 * MS)
    with record.locked(), pytest.raises(UnavailableError, match="another `parlour up` or `down`"), record.locked():
        pass
    with record.locked():
        pass


def test_a_state_folder_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be written down the folder is named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ParlourError, match="cannot write to"), Record("127.0.0.1:6000").locked():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_noticed_where_one_waits(number: signal.Signals) -> None:
    """A signal raises nothing by itself, ends the wait, and is not forgotten."""
    # Whoever runs the tests by nohup has SIGHUP ignored, which would be kept.
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
    """Who minds processes learns at once that one has ended, and is not woken for nothing."""
    with Signals() as signals:
        process = subprocess.Popen([sys.executable, "-c", ""])
        start = time.monotonic()
        signals.wait(10_000 * MS)
        assert time.monotonic() - start < 9000 * MS
        process.wait()
        start = time.monotonic()
        signals.wait(60 * MS)
        assert time.monotonic() - start >= 50 * MS
