"""What holds for every test: locks checked, no touch of the user's own data, and nothing left behind.

This module owns the environment that tests and the processes they start run in; its fixture runs around each test
on pytest's thread. It must never forgive a leak: whoever needs a thing for several tests makes a fixture for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from support.waiting import poll

# All of this is set before the first import of parlour, and inherited by every process that a test starts.
os.environ["PARLOUR_DEBUG_LOCKS"] = "1"
os.environ.pop("PARLOUR_BROKER", None)
_HOME = tempfile.mkdtemp(prefix="parlour-tests-")
for _variable in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
    os.environ[_variable] = os.path.join(_HOME, _variable.lower())
    os.mkdir(os.environ[_variable], 0o700)

# In the background of a script Ctrl-C is ignored, and would be by every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take long when the machine is busy with something else; what must be quick has a test that says so.
# The suite tries the same examples each time, so that only a change of the code makes it fail. New ones are searched by
# `pytest --hypothesis-profile search`.
settings.register_profile("parlour", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("parlour")

SETTLE = 10.0
"""Seconds (scaled) that threads, descriptors and processes have to end after a test."""


# What ran before the tests is none of theirs: it need not be looked at again and again.
_STRANGERS = frozenset(os.listdir("/proc"))


def pytest_sessionstart() -> None:
    """Make what a process has once and keeps: the ZeroMQ context of its questions."""
    from parlour.runtime.zeromq import shared_context

    shared_context()


def pytest_unconfigure() -> None:
    """Remove the session's own data directories."""
    shutil.rmtree(_HOME, ignore_errors=True)


def _threads() -> set[threading.Thread]:
    # The timer of pytest-timeout ends with the test, after its fixtures.
    return {thread for thread in threading.enumerate() if not thread.name.startswith("pytest_timeout")}


def _descriptors() -> Counter[str]:
    """Count what the descriptors of this process point to: anonymous ones of a kind look all the same."""
    targets: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            targets[os.readlink(f"/proc/self/fd/{descriptor}")] += 1
        except FileNotFoundError:
            pass  # It was the one by which the folder itself was listed.
    return targets


def _processes() -> dict[int, str]:
    """Return the command lines, by process id, of our children and of everything started with our environment.

    The second catches a daemon, which is nobody's child any more.
    """
    mark, parent = f"XDG_RUNTIME_DIR={os.environ['XDG_RUNTIME_DIR']}".encode(), str(os.getpid())
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name in _STRANGERS or not name.isdigit():
            continue
        folder = Path("/proc", name)
        try:
            ours = (folder / "stat").read_text().rpartition(")")[2].split()[1] == parent
            if ours or mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(name)] = command or "(ended, not waited for)"
        except (OSError, IndexError):
            continue  # It has ended meanwhile, or is another user's.
    return found


class _Held(NamedTuple):
    threads: set[threading.Thread]
    descriptors: Counter[str]
    processes: dict[int, str]

    @classmethod
    def now(cls) -> _Held:
        return cls(_threads(), _descriptors(), _processes())

    def leaks(self) -> list[str]:
        """Name what there is now that was not there then."""
        now = _Held.now()
        return [
            *sorted(f"thread {thread.name}" for thread in now.threads - self.threads),
            *sorted(f"descriptor {target}" for target in (now.descriptors - self.descriptors).elements()),
            *(f"process {pid}: {now.processes[pid]}" for pid in sorted(now.processes.keys() - self.processes.keys())),
        ]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread, an open descriptor or a process behind.

    As the first fixture it is the last to end, so what the test's other fixtures close is closed by then.
    """
    before = _Held.now()
    yield
    leaks: list[str] = []

    def clean() -> bool:
        leaks[:] = before.leaks()
        return not leaks

    if not poll(clean, SETTLE):
        pytest.fail("left behind: " + "; ".join(leaks), pytrace=False)
