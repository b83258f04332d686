"""Brokers and nodes as processes of their own, which a test can kill.

This module owns the processes that a test starts, and ends those that are left; it runs on the test's thread. It must
never wait for a line without a deadline.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.waiting import MS

__all__ = ["Processes", "processes", "run", "unread"]


def run(
    *arguments: str, timeout: float = 20.0, given: str | None = None, on: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `parlour` with these arguments to its end, perhaps through another command `on`; return its output."""
    return subprocess.run(
        [*on, sys.executable, "-m", "parlour.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout * 1000 * MS,
        input=given,
        check=False,
    )


@contextlib.contextmanager
def unread() -> Iterator[int]:
    """Yield the descriptor of a pipe without a reader, for a program's standard output."""
    receiver, sender = os.pipe()
    os.close(receiver)
    try:
        yield sender
    finally:
        os.close(sender)


class Processes:
    """The processes of one test."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def launch(self, *arguments: str, on: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `parlour` with these arguments, perhaps through another command `on`, and return at once.

        A node has no limit of posts, unless the arguments give one: tests post fast.
        """
        if arguments[0] == "node" and "--post-rate" not in arguments:
            arguments += ("--post-rate", "0")
        command = [*on, sys.executable, "-m", "parlour.cli", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def start(self, *arguments: str, on: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `parlour` like `launch`, and return when it has printed that it is ready."""
        process = self.launch(*arguments, on=on)
        assert process.stdout is not None
        assert process.stderr is not None
        if not select.select([process.stdout], [], [], 20_000 * MS)[0] or "ready" not in process.stdout.readline():
            process.kill()
            raise AssertionError(f"{arguments} did not get ready: {process.stderr.read()}")
        return process

    def broker(self, port: int) -> subprocess.Popen[str]:
        """Start a broker."""
        return self.start("broker", "--bind", f"127.0.0.1:{port}")

    def node(self, name: str, port: int, log: Path) -> subprocess.Popen[str]:
        """Start a node of the broker at `port`."""
        return self.start("node", "--name", name, "--broker", f"127.0.0.1:{port}", "--log", f"sqlite://{log}")

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill the process, like a failing machine."""
        process.kill()
        process.wait(10)

    def stop(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Send SIGTERM; return the exit status and the text on standard error."""
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10_000 * MS)
        return process.returncode, errors

    def close(self) -> None:
        """End the processes that still run."""
        for process in self._started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Start processes, and end those that are left."""
    started = Processes()
    try:
        yield started
    finally:
        started.close()
