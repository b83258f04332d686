"""A part of a cluster that runs as a process of its own: starting it, knowing it again, stopping it.

This module owns how `up` and `down` handle processes; it runs on the main thread. It must never signal a process
that it has not known by its start time, nor leave one it was told to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from parlour.runtime.folders import open_private

__all__ = ["STOP_TIMEOUT", "Child", "launch", "start_time", "stop_all"]

STOP_TIMEOUT = 6.0
"""Seconds that a part is given to end by itself. A node promises to need no more than 5."""


def start_time(pid: int) -> str | None:
    """Return when the process began, in clock ticks since the machine did; None if it does not run.

    A process id comes back into use, an id together with its start time does not. A zombie counts as ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, so the fields are counted from its end: the 3rd is the state, the
    # 22nd the start time (proc(5)).
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]


class Child:
    """A process known by its id and start time, started by this process or by an earlier `up`.

    `output` is the path of the file that holds what it printed, or None if that went to the terminal.
    """

    def __init__(
        self,
        name: str,
        pid: int,
        started: str | None,
        output: str | None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.name = name
        self.pid = pid
        self.started = started
        self.output = output
        self._process = process

    @property
    def label(self) -> str:
        """What to call it in a sentence."""
        return "the broker" if self.name == "broker" else f"node {self.name}"

    @property
    def status(self) -> int | None:
        """Its exit status, minus the signal's number if one ended it; None if it runs or is not ours to know."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        if self._process is not None:
            return self._process.poll() is None
        return self.started is not None and start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def wait(self, deadline: float) -> bool:
        """Wait until it has ended, or until `deadline` (of the monotonic clock); return whether it has."""
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            # Another's child cannot be waited for, only looked at.
            time.sleep(0.02)
        self.release()
        return True

    def release(self) -> None:
        """Close our end of the leash, if there is one: a leashed process that still runs will end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def last_words(self) -> str:
        """Return the last line that it printed, without the command's name; empty if there is none to read."""
        if self.output is None:
            return ""
        try:
            lines = Path(self.output).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip().removeprefix("parlour: ") for line in reversed(lines) if line.strip()), "")


def launch(name: str, arguments: Sequence[str], output: Path | None) -> Child:
    """Start `parlour ARGUMENTS` in a session of its own, out of reach of the terminal's Ctrl-C.

    With `output` it prints to that file and outlives us. Without, its errors go to our standard error (that it is
    ready is ours to say) and it ends when we do, in whatever way we end.
    """
    if output is None:
        command = [sys.executable, "-m", "parlour.cli.leash", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        return Child(name, process.pid, start_time(process.pid), None, process)
    command = [sys.executable, "-m", "parlour.cli", *arguments]
    # Only the user may read what the part prints, and the files that the part makes.
    with open(output, "wb", opener=open_private) as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    return Child(name, process.pid, start_time(process.pid), str(output), process)


def _stop(children: Sequence[Child], number: signal.Signals) -> list[Child]:
    for child in children:
        child.signal(number)
    deadline = time.monotonic() + STOP_TIMEOUT
    stuck = [child for child in children if not child.wait(deadline)]
    for child in stuck:
        child.signal(signal.SIGKILL)
    deadline = time.monotonic() + STOP_TIMEOUT
    for child in stuck:
        child.wait(deadline)
    return stuck


def stop_all(children: Iterable[Child], number: signal.Signals = signal.SIGINT) -> list[Child]:
    """Stop the nodes, then the broker, which so sees them go; return those that had to be killed.

    By default not with SIGTERM, on which a node first sends its clients to other nodes: all are to stop.
    """
    nodes: list[Child] = []
    brokers: list[Child] = []
    for child in children:
        (brokers if child.name == "broker" else nodes).append(child)
    return _stop(nodes, number) + _stop(brokers, number)
