"""A part of the cluster: it starts until it is ready, its death is noticed, and it is never left behind."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parlour.chaos import part as module
from parlour.chaos.part import Part
from parlour.chaos.reaper import Reaper
from parlour.wire.errors import ParlourError
from support.waiting import eventually

GOOD = "import sys; print('x ready', flush=True); sys.stdin.read()"
STUBBORN = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
BAD = "import sys; sys.exit('parlour: the port is in use')"
# Fails the second time, as a node does whose name is still taken by its killed predecessor.
SECOND = f"import os, sys; os.mkdir(str(n := sum(map(str.isdigit, os.listdir())))); n == 1 and sys.exit(1); {GOOD}"


ECHO = "import sys; print('ready', flush=True); [print(line * 9999, flush=True) for line in map(str.strip, sys.stdin)]"


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    """Give a reaper of a folder for the test's files."""
    with Reaper() as reaper:
        yield reaper


def python(code: str, reaper: Reaper, stop: threading.Event | None = None) -> Part:
    """Return a part that runs this code."""
    command = [sys.executable, "-X", "faulthandler", "-c", f"import os; os.chdir({str(reaper.folder)!r}); {code}"]
    return Part("x", command, reaper, stop or threading.Event())


def test_part_is_killed_and_started_again(reaper: Reaper) -> None:
    """A part is ready when `start` returns and dead when `kill` returns; a kill is no death of its own."""
    with python(GOOD, reaper) as part:
        for _ in range(2):
            part.start()
            process = part.process
            assert process.poll() is None
            part.kill()
            assert process.returncode == -signal.SIGKILL
            assert part.died() is None


def test_start_is_repeated(reaper: Reaper) -> None:
    """A part that ran before and does not start at once is started again until its time is over."""
    with python(SECOND, reaper) as part:
        part.start()
        part.kill()
        part.start()
        assert part.process.poll() is None


def test_failed_start_is_told(reaper: Reaper) -> None:
    """If the first start fails, the error has the part's last line, and the start is not repeated."""
    with python(BAD, reaper) as part:
        with pytest.raises(ParlourError, match="x did not start: the port is in use"):
            part.start()
        assert part.complaints() == ["parlour: the port is in use"]


def test_stop_ends_waiting(reaper: Reaper) -> None:
    """When the round is told to stop, no start is repeated."""
    stop = threading.Event()
    stop.set()
    with python(BAD, reaper, stop) as part, pytest.raises(ParlourError, match="did not start"):
        part.start()


def test_death_is_told_once(reaper: Reaper) -> None:
    """A part that ends by itself is noticed once."""
    with python(GOOD, reaper) as part:
        part.start()
        part.process.terminate()
        part.process.wait(10)
        assert "x ended by itself, with status -15" in (part.died() or "")
        assert part.died() is None


def test_part_that_does_not_stop_is_killed(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that stops gives its status; one that does not stop is killed and gives none."""
    monkeypatch.setattr(module, "ENDING", 0.3)
    with python(STUBBORN, reaper) as part:
        part.start()
        assert part.terminate() is None
        assert any("most recent call first" in line for line in part.complaints()), "it tells where it stood"
    with python(GOOD, reaper) as part:
        part.start()
        assert part.terminate() == -signal.SIGTERM


def test_part_is_halted(reaper: Reaper) -> None:
    """A part stands still for the given time, and then runs again."""

    def state() -> str:
        return Path(f"/proc/{part.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    with python(GOOD, reaper) as part:
        part.start()
        thread = threading.Thread(target=part.halt, args=(0.3,))
        thread.start()
        eventually(lambda: state() == "T", what="it stands still")
        thread.join(10)
        eventually(lambda: state() != "T", what="it runs again")


def test_part_answers_in_lines(reaper: Reaper) -> None:
    """The output of a part is read line by line, however long the lines are and however many come together."""
    with python(ECHO, reaper) as part:
        part.start()
        part.tell("one")
        part.tell("two")
        assert (part.hear(), part.hear()) == ("one" * 9999, "two" * 9999)


def test_dead_part_does_not_answer(reaper: Reaper) -> None:
    """Requests to a dead part raise an error with its last line."""
    with python(BAD.replace("import sys", "import sys; print('ready', flush=True)"), reaper) as part:
        part.start()
        with pytest.raises(ParlourError, match="x does not answer: the port is in use"):
            part.hear()
        part.process.wait(10)
        with pytest.raises(ParlourError, match="x is gone: the port is in use"):
            part.tell("hello")
