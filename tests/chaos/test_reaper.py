"""The reaper of a round: whatever becomes of the round, its processes end and its files are removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parlour.chaos.reaper import Reaper
from parlour.wire.errors import ParlourError
from support.waiting import eventually

# One that nothing but SIGKILL ends: the system wakes, and hangs up on, a process that stands still without a parent.
SLEEPER = "import os, signal; signal.signal(1, signal.SIG_IGN)\nwhile True: os.kill(os.getpid(), signal.SIGSTOP)"

ROUND = f"""
import subprocess, sys
from parlour.chaos.reaper import Reaper
reaper = Reaper()
part = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}])
reaper.watch(part.pid)
(reaper.folder / "rooms.sqlite").touch()
print(reaper.folder, part.pid, flush=True)
sys.stdin.read()
"""


def has_ended(pid: int) -> bool:
    """Whether there is no such process, or one that only waits to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_round_leaves_nothing() -> None:
    """Processes that stand still, and files, are gone soon after the round was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", ROUND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        folder, pid = killed.stdout.readline().split()
        assert Path(folder, "rooms.sqlite").exists()
        killed.kill()
    eventually(lambda: has_ended(int(pid)), 10, "its process has ended")
    eventually(lambda: not Path(folder).exists(), 10, "its folder is gone")


def test_a_round_that_ends_leaves_nothing() -> None:
    """What still runs at the end is ended; what ended before, and what never was, is no trouble."""
    with Reaper() as reaper:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            reaper.watch(ended.pid)
        reaper.watch(ended.pid)
        running = subprocess.Popen([sys.executable, "-c", SLEEPER])
        reaper.watch(running.pid)
    assert running.wait(10) == -9
    assert not reaper.folder.exists()


def test_without_a_folder_there_is_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper that cannot even begin is told in a line."""
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(ParlourError, match="TMPDIR"):
        Reaper()
