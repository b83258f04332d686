"""The reaper of a round: however the round ends, its processes are killed and its files removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parlour.chaos.reaper import Reaper
from parlour.wire.errors import ParlourError
from support.waiting import eventually

# A process that only SIGKILL ends. (The system continues and hangs up a halted process without a parent.)
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
    """Whether there is no such process, or only a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_killed_round() -> None:
    """Soon after the round was killed, its halted processes and its files are gone."""
    with subprocess.Popen(
        [sys.executable, "-c", ROUND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        folder, pid = killed.stdout.readline().split()
        assert Path(folder, "rooms.sqlite").exists()
        killed.kill()
    eventually(lambda: has_ended(int(pid)), 10, "its process has ended")
    eventually(lambda: not Path(folder).exists(), 10, "its folder is gone")


def test_ended_round() -> None:
    """At the end running processes are killed; processes that ended before, or never were, are no trouble."""
    with Reaper() as reaper:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            reaper.watch(ended.pid)
        reaper.watch(ended.pid)
        running = subprocess.Popen([sys.executable, "-c", SLEEPER])
        reaper.watch(running.pid)
    assert running.wait(10) == -9
    assert not reaper.folder.exists()


def test_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper that cannot make its folder raises an error of one line."""
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(ParlourError, match="TMPDIR"):
        Reaper()
