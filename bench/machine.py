"""The machine that is measured on: which core is whose, and what a reader must know of it to repeat the figures.

This module owns the choice of the two cores and reads /proc; it runs on the bench's own thread. It must never change
anything but the affinity of processes that the bench started.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["describe", "generator_core", "on_core", "resident", "server_core"]


def server_core() -> int:
    """Return the core that servers have to themselves."""
    return max(os.sched_getaffinity(os.getppid()))


def generator_core() -> int:
    """Return the core of the load generator and of the bench itself; the servers' where there is no other."""
    return min(os.sched_getaffinity(os.getppid()))


def on_core(core: int) -> Callable[[], None]:
    """Return what a child process does before it becomes a program, so that all its threads stay on this core."""
    return lambda: os.sched_setaffinity(0, {core})


def resident(pids: list[int]) -> int:
    """Return the resident memory of the processes, in bytes."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _line(path: str, key: str) -> str:
    found = (line for line in Path(path).read_text().splitlines() if line.startswith(key))
    return next(found, ":").partition(":")[2].strip()


def describe() -> dict[str, str]:
    """Return what the machine is, by what a reader would call it."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "processor": f"{os.cpu_count()} x {_line('/proc/cpuinfo', 'model name') or platform.machine()}",
        "memory": f"{int(_line('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "parlour": commit.stdout.strip() or "unknown",
    }
