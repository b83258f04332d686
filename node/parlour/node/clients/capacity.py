"""How many clients the system lets a node take: each is an open file and a thread.

This module owns the look at the system's limits; it runs on the thread that starts a node. It must never promise more
than is there now: a node that does is sent clients that it has to refuse.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from parlour.node.clients.listener import SPARE
from parlour.wire.errors import ParlourError

__all__ = ["Bound", "allowed", "bounds"]

FILES = 64
"""Files that a node has open besides those kept free for it: some 36 when it is alone, more with peers and brokers."""

THREADS = 40
"""Threads that a node needs besides its clients': some 15 of its own, ZeroMQ's, and those that come and go."""

_SYSTEM = 1 << 24 | 1 << 21
"""The capabilities CAP_SYS_RESOURCE and CAP_SYS_ADMIN: who has one is not bound by the number of a user's threads."""


class Bound(NamedTuple):
    """A limit of the system's, as clients."""

    clients: int
    what: str
    """What limits them, and to how many, in words."""
    advice: str


def allowed(wanted: int, found: list[Bound]) -> tuple[int, str]:
    """Return how many clients of those wanted are allowed, and a line that says why there are no more, or nothing.

    Raises ParlourError if there can be none.
    """
    least = min(found)
    if least.clients >= wanted:
        return wanted, ""
    if least.clients <= 0:
        raise ParlourError(f"the system leaves this node no place for a client: {least.what}: {least.advice}")
    return least.clients, f"takes {least.clients} clients instead of {wanted}: {least.what}: {least.advice}"


def bounds() -> list[Bound]:
    """Return what the system's limits leave to clients now."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    own = SPARE + FILES
    found = [Bound(files - own, f"{files} files may be open, {own} of them its own", "raise that (ulimit -n)")]
    for name, limit, used in _threads():
        what = f"{limit} threads may run ({name}), {used} do, and it needs {THREADS} itself"
        found.append(Bound(limit - used - THREADS, what, "raise that"))
    with suppress(OSError, ValueError):
        # A thread's stack is a mapping, and the guard below it another.
        maps = int(Path("/proc/sys/vm/max_map_count").read_text())
        used = Path("/proc/self/maps").read_text().count("\n")
        found.append(Bound((maps - used) // 2 - THREADS, f"vm.max_map_count is {maps}", "raise it (sysctl)"))
    return found


def _threads() -> Iterator[tuple[str, int, int]]:
    """Yield the limits of threads: what each is called, how many it allows, and how many there are."""
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
    """Yield how many threads each process of this user has."""
    user = os.getuid()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                if folder.stat().st_uid == user:
                    yield len(os.listdir(folder / "task"))


def _groups() -> Iterator[Path]:
    """Yield the control groups that this process is in, as far as they count threads, the innermost first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "pids" not in controllers.split(","):
                continue
            root = Path("/sys/fs/cgroup/pids" if controllers else "/sys/fs/cgroup")
            folder = root / path.lstrip("/")
            yield from (group for group in (folder, *folder.parents) if group == root or root in group.parents)
