"""A process of the cluster under test: started until it is ready, seen to die, and never left behind."""

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
# Fails the second time, as a node does whose name its killed former self still has.
SECOND = f"import os, sys; os.mkdir(str(n := sum(map(str.isdigit, os.listdir())))); n == 1 and sys.exit(1); {GOOD}"


ECHO = "import sys; print('ready', flush=True); [print(line * 9999, flush=True) for line in map(str.strip, sys.stdin)]"


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    """Give a reaper of a folder for the test's files."""
    with Reaper() as reaper:
        yield reaper


def python(code: str, reaper: Reaper, stop: threading.Event | None = None) -> Part:
    """Return a part that is a little program."""
    command = [sys.executable, "-X", "faulthandler", "-c", f"import os; os.chdir({str(reaper.folder)!r}); {code}"]
    return Part("x", command, reaper, stop or threading.Event())


def test_a_part_is_killed_and_started_again(reaper: Reaper) -> None:
    """It is ready when `start` returns, gone when `kill` does, and what we did to it is no death of its own."""
    with python(GOOD, reaper) as part:
        for _ in range(2):
            part.start()
            process = part.process
            assert process.poll() is None
            part.kill()
            assert process.returncode == -signal.SIGKILL
            assert part.died() is None


def test_a_part_that_does_not_come_back_at_first_is_started_again(reaper: Reaper) -> None:
    """A start that fails is tried anew until its time is over."""
    with python(SECOND, reaper) as part:
        part.start()
        part.kill()
        part.start()
        assert part.process.poll() is None


def test_a_part_that_never_starts_says_why(reaper: Reaper) -> None:
    """Its last words are in the error, and it is not tried again."""
    with python(BAD, reaper) as part:
        with pytest.raises(ParlourError, match="x did not start: the port is in use"):
            part.start()
        assert part.complaints() == ["parlour: the port is in use"]


def test_waiting_ends_when_all_shall_stop(reaper: Reaper) -> None:
    """Once the round is told to stop nothing is tried again."""
    stop = threading.Event()
    stop.set()
    with python(BAD, reaper, stop) as part, pytest.raises(ParlourError, match="did not start"):
        part.start()


def test_a_death_of_its_own_is_told_once(reaper: Reaper) -> None:
    """A part that ends without our doing is noticed."""
    with python(GOOD, reaper) as part:
        part.start()
        part.process.terminate()
        part.process.wait(10)
        assert "x ended by itself, with status -15" in (part.died() or "")
        assert part.died() is None


def test_a_part_that_does_not_stop_is_killed(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop it gives its status, if it heeds; else there is none to give."""
    monkeypatch.setattr(module, "ENDING", 0.3)
    with python(STUBBORN, reaper) as part:
        part.start()
        assert part.terminate() is None
        assert any("most recent call first" in line for line in part.complaints()), "it tells where it stood"
    with python(GOOD, reaper) as part:
        part.start()
        assert part.terminate() == -signal.SIGTERM


def test_a_part_is_halted_and_let_go(reaper: Reaper) -> None:
    """It stands still for that long, and runs again afterwards."""

    def state() -> str:
        return Path(f"/proc/{part.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    with python(GOOD, reaper) as part:
        part.start()
        thread = threading.Thread(target=part.halt, args=(0.3,))
        thread.start()
        eventually(lambda: state() == "T", what="it stands still")
        thread.join(10)
        eventually(lambda: state() != "T", what="it runs again")


def test_a_part_answers_in_lines(reaper: Reaper) -> None:
    """What it prints comes a line at a time, however long and however many came together."""
    with python(ECHO, reaper) as part:
        part.start()
        part.tell("one")
        part.tell("two")
        assert (part.hear(), part.hear()) == ("one" * 9999, "two" * 9999)


def test_a_part_that_is_gone_says_so(reaper: Reaper) -> None:
    """Who talks to a part that has ended is told that, and its last words."""
    with python(BAD.replace("import sys", "import sys; print('ready', flush=True)"), reaper) as part:
        part.start()
        with pytest.raises(ParlourError, match="x does not answer: the port is in use"):
            part.hear()
        part.process.wait(10)
        with pytest.raises(ParlourError, match="x is gone: the port is in use"):
            part.tell("hello")
