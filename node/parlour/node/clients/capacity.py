"""The number of clients that the system lets a node take: each one needs an open file and a thread.

This module owns the reading of the system's limits; it runs on the thread that starts a node. It must never promise
more than is free now: else the broker sends clients that the node has to refuse.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from parlour.node.clients.listener import RESERVED_FILES
from parlour.wire.errors import ParlourError

__all__ = ["SystemLimit", "allowed_clients", "system_limits"]

OWN_FILES = 64
"""Files that a node has open besides the reserved ones: about 36 when it is alone, more with peers and brokers."""

OWN_THREADS = 40
"""Threads that a node needs besides its clients': about 15 of its own, ZeroMQ's, and short-lived ones."""

_SYSTEM = 1 << 24 | 1 << 21
"""CAP_SYS_RESOURCE and CAP_SYS_ADMIN: the limit of threads per user does not hold for a process with one of these."""


class SystemLimit(NamedTuple):
    """A limit of the system, expressed as a number of clients."""

    clients: int
    reason: str
    """The name and value of the limit, in words."""
    advice: str


def allowed_clients(wanted: int, limits: list[SystemLimit]) -> tuple[int, str]:
    """Return how many of the wanted clients the limits allow, and a line that says why not more, or an empty string.

    Raises ParlourError if the limits allow no client.
    """
    least = min(limits)
    if least.clients >= wanted:
        return wanted, ""
    if least.clients <= 0:
        raise ParlourError(f"the system leaves this node no place for a client: {least.reason}: {least.advice}")
    return least.clients, f"takes {least.clients} clients instead of {wanted}: {least.reason}: {least.advice}"


def system_limits() -> list[SystemLimit]:
    """Return the system's limits, as the numbers of clients that they allow now."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    own = RESERVED_FILES + OWN_FILES
    limits = [
        SystemLimit(
            files - own,
            f"only {files} files may be open, and the node itself needs {own}",
            "raise that limit (ulimit -n)",
        )
    ]
    for name, limit, used in _threads():
        reason = f"only {limit} threads may run ({name}): {used} run now, and the node itself needs {OWN_THREADS}"
        limits.append(SystemLimit(limit - used - OWN_THREADS, reason, "raise that limit"))
    with suppress(OSError, ValueError):
        # A thread has two mappings: its stack, and the guard below it.
        maps = int(Path("/proc/sys/vm/max_map_count").read_text())
        used = Path("/proc/self/maps").read_text().count("\n")
        limits.append(SystemLimit((maps - used) // 2 - OWN_THREADS, f"vm.max_map_count is {maps}", "raise it (sysctl)"))
    return limits


def _threads() -> Iterator[tuple[str, int, int]]:
    """Yield the limits of threads: for each its name, its value, and the number of threads that exist."""
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if processes != resource.RLIM_INFINITY and not _is_privileged():
        yield "ulimit -u", processes, sum(_threads_of_user())
    for folder in _groups():
        with suppress(OSError, ValueError):  # "max": no limit
            most, running = (int((folder / f"pids.{name}").read_text()) for name in ("max", "current"))
            yield f"pids.max of {folder}", most, running
    with suppress(OSError, ValueError):
        most = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("threads-max", "pid_max"))
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        yield "kernel.threads-max or pid_max", most, running


def _is_privileged() -> bool:
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text()
        return bool(int(status.partition("\nCapEff:")[2].split()[0], 16) & _SYSTEM)
    return False


def _threads_of_user() -> Iterator[int]:
    """Yield the number of threads of each process of this user."""
    user = os.getuid()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # the process has ended meanwhile
                if folder.stat().st_uid == user:
                    yield len(os.listdir(folder / "task"))


def _groups() -> Iterator[Path]:
    """Yield the control groups of this process that count threads, the innermost first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "pids" not in controllers.split(","):
                continue
            root = Path("/sys/fs/cgroup/pids" if controllers else "/sys/fs/cgroup")
            folder = root / path.lstrip("/")
            yield from (group for group in (folder, *folder.parents) if group == root or root in group.parents)
