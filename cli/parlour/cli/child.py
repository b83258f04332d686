"""The processes of a cluster's parts: how `up` and `down` start them, recognise them later, and stop them.

This module runs on the main thread. It must never signal a process whose start time it has not checked, nor leave a
process running that it was told to stop.
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
"""Seconds that a part has to end by itself before it is killed. A node needs at most 5."""


def start_time(pid: int) -> str | None:
    """Return the start time of a process, in clock ticks since the machine started; None if the process does not run.

    The system reuses process ids, but no two processes have the same id and start time. A zombie counts as ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name, in parentheses, may contain anything, so the fields are counted from its end: the 3rd is the
    # state, the 22nd the start time (proc(5)).
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]


class Child:
    """A process that this `up` or an earlier one started, known by its id and start time.

    `output` is the path of the file that it prints to, or None if it prints to the terminal.
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
        """The name of the part in a sentence, such as "node n1"."""
        return "the broker" if self.name == "broker" else f"node {self.name}"

    @property
    def status(self) -> int | None:
        """The exit status (minus the number of the signal that ended it); None if it runs or is not our child."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        if self._process is not None:
            return self._process.poll() is None
        return self.started is not None and start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def wait(self, deadline: float) -> bool:
        """Wait until the process has ended or `deadline` (monotonic seconds) has come; return whether it has ended."""
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            # A process can wait for its own children only, so look from time to time.
            time.sleep(0.02)
        self.release()
        return True

    def release(self) -> None:
        """Close our end of the leash, if there is one; a process on the leash then ends."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def last_line(self) -> str:
        """Return the last line of the output file, without the command's name; empty if there is none."""
        if self.output is None:
            return ""
        try:
            lines = Path(self.output).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip().removeprefix("parlour: ") for line in reversed(lines) if line.strip()), "")


def launch(name: str, arguments: Sequence[str], output: Path | None) -> Child:
    """Start `parlour ARGUMENTS` in a new session, so that the terminal's Ctrl-C does not reach it.

    With `output`, the child prints to that file and outlives this process. Without `output`, only its errors are shown,
    on our standard error, and it ends when this process ends, even if this process is killed.
    """
    if output is None:
        command = [sys.executable, "-m", "parlour.cli.leash", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        return Child(name, process.pid, start_time(process.pid), None, process)
    command = [sys.executable, "-m", "parlour.cli", *arguments]
    # Other users must not read the output of the part, nor the files that it makes.
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
    """Stop the nodes, then the broker, so that the broker sees the nodes leave; return the parts that were killed.

    The default is SIGINT: on SIGTERM a node would first move its clients to other nodes, which stop as well.
    """
    nodes: list[Child] = []
    brokers: list[Child] = []
    for child in children:
        (brokers if child.name == "broker" else nodes).append(child)
    return _stop(nodes, number) + _stop(brokers, number)
