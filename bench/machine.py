"""The machine of the benchmark: its two cores, and the facts that a reader needs to repeat the figures.

This module owns the choice of the two cores and reads /proc; it runs on the bench's own thread. It must never change
anything except the affinity of processes that the bench started.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["cpu", "describe", "generator_core", "on_core", "relay_share", "resident", "server_core"]

# Read before the bench binds itself to one of them.
_CORES = sorted(os.sched_getaffinity(0))


def server_core() -> int:
    """Return the core that the servers have for themselves."""
    return _CORES[-1]


def generator_core() -> int:
    """Return the core of the load generator and the bench, which is the servers' if there is only one."""
    return _CORES[0]


def on_core(core: int) -> Callable[[], None]:
    """Return a `preexec_fn` that binds a child process and all its threads to this core."""
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
    """Return the part of the nodes' time that their relay threads used, with the ZeroMQ threads that serve these."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    theirs = [task for task in tasks if re.match("ZMQ|.*-relay$", (task / "comm").read_text())]
    return sum(_used(task / "stat") for task in theirs) / max(0.01, cpu(pids))


def _line(path: str, key: str) -> str:
    found = (line for line in Path(path).read_text().splitlines() if line.startswith(key))
    return next(found, ":").partition(":")[2].strip()


def describe() -> dict[str, str]:
    """Return facts about the machine, by labels for the reader."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "processor": f"{os.cpu_count()} x {_line('/proc/cpuinfo', 'model name') or platform.machine()}",
        "memory": f"{int(_line('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    }
