"""The machine that is measured on: which core is whose, and what a reader must know of it to repeat the figures.

This module owns the choice of the two cores and reads /proc; it runs on the bench's own thread. It must never change
anything but the affinity of processes that the bench started.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["cpu", "describe", "generator_core", "on_core", "relay_share", "resident", "server_core"]

# Before the bench keeps itself to one of them.
_CORES = sorted(os.sched_getaffinity(0))


def server_core() -> int:
    """Return the core that servers have to themselves."""
    return _CORES[-1]


def generator_core() -> int:
    """Return the core of the load generator and of the bench itself; the servers' where there is no other."""
    return _CORES[0]


def on_core(core: int) -> Callable[[], None]:
    """Return what a child process does before it becomes a program, so that all its threads stay on this core."""
    return lambda: os.sched_setaffinity(0, {core})


def resident(pids: list[int]) -> int:
    """Return the resident memory of the processes, in bytes."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _used(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu(pids: list[int]) -> float:
    """Return the processor time that the processes have used, user and system, in seconds."""
    return sum(_used(Path(f"/proc/{pid}/stat")) for pid in pids)


def relay_share(pids: list[int]) -> float:
    """Return what part of the nodes' time was used by their relay threads, and by those of ZeroMQ that serve them."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    theirs = [task for task in tasks if re.match("ZMQ|.*-relay$", (task / "comm").read_text())]
    return sum(_used(task / "stat") for task in theirs) / max(0.01, cpu(pids))


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
        "commit": commit.stdout.strip() or "unknown",
    }
