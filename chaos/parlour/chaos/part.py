"""A part: one process of the cluster under test, which faults kill, halt, stop and start again at the same address.

This module owns the process and the file with its standard error. One thread at a time calls a part. It must never
leave a process behind after `close`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Self

from parlour.chaos.reaper import Reaper
from parlour.wire.errors import ParlourError

__all__ = ["Part", "module", "parlour"]

STARTING = 40.0
"""Seconds within which a part must be ready, with all attempts: the name of a killed node is taken for 3."""

CHUNK = 64 * 1024
"""Bytes to read at once of a part's standard output."""

LOOK = 0.05
"""Seconds between two looks whether a part has ended."""

AGAIN = 0.3
"""Seconds between two attempts to start a part."""

ANSWERING = 20.0
"""Seconds within which a part must print the expected line."""

ENDING = 15.0
"""Seconds from the request to end until the part is killed; a draining node promises to end within 9."""


def parlour(*arguments: str) -> list[str]:
    """Return the command line of `parlour ARGUMENTS`."""
    return module("parlour.cli", *arguments)


def module(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module with this interpreter; on SIGABRT it prints its threads' stacks."""
    return [sys.executable, "-X", "faulthandler", "-m", name, *arguments]


class Part:
    """A process that prints a line with the word `ready` when it is ready."""

    def __init__(self, name: str, command: Sequence[str], reaper: Reaper, stop: threading.Event) -> None:
        """Prepare the part; `stop` ends all waiting."""
        self.name = name
        self._command = command
        self._reaper = reaper
        self._errors = reaper.folder / f"{name}.err"
        self._printed = b""  # printed, and not read by a caller yet
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None
        self._expected = True  # whether this program ended it
        self._ran = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; raises ParlourError if it does not run."""
        if self._process is None:
            raise ParlourError(f"{self.name} does not run")
        return self._process

    def start(self, *options: str) -> None:
        """Start the process, with these options besides its own, and return when it is ready.

        If it ran before, try again when it ends at once. Raises ParlourError, with its last line of standard error, if
        it is not ready in time.
        """
        deadline = time.monotonic() + STARTING
        while not self._begin([*self._command, *options], deadline):
            self.kill()
            # Retry only a part that ran before: another part may be away, or the name still taken. A first start would
            # fail again.
            if not self._ran or self._stop.wait(AGAIN) or time.monotonic() >= deadline:
                raise ParlourError(f"{self.name} did not start: {self.last_words()}")
        self._expected = False
        self._ran = True

    def _begin(self, command: Sequence[str], deadline: float) -> bool:
        """Start the process and wait until it is ready; return False if it ended or time is up."""
        with self._errors.open("ab") as errors:
            # In a session of its own, so that Ctrl-C at the terminal does not reach it.
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._reaper.watch(self._process.pid)
        self._printed = b""
        while not self._stop.is_set() and time.monotonic() < deadline:
            if self.is_ready():
                return True
            if self._process.poll() is not None:
                return False
        return False

    def is_ready(self) -> bool:
        """Wait a moment, and return whether the process has printed that it is ready."""
        return b"ready" in self._line(LOOK)

    def tell(self, line: str) -> None:
        """Write a line to its standard input; raises ParlourError if the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n".encode())
        except OSError:
            raise ParlourError(f"{self.name} is gone: {self.last_words()}") from None

    def hear(self, timeout: float = ANSWERING) -> str:
        """Return the next line that it prints; raises ParlourError if none comes within `timeout` seconds."""
        line = self._line(timeout)
        if not line:
            raise ParlourError(f"{self.name} does not answer: {self.last_words()}")
        return line.decode().strip()

    def _line(self, timeout: float) -> bytes:
        """Return the next line that it prints; empty if none comes in time."""
        output = self.process.stdout
        assert output is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._printed:
            left = deadline - time.monotonic()
            if left <= 0 or self._stop.is_set():
                return b""
            if select.select([output], [], [], min(LOOK, left))[0]:
                data = os.read(output.fileno(), CHUNK)
                if not data:
                    return b""
                self._printed += data
        line, _, self._printed = self._printed.partition(b"\n")
        return line + b"\n"

    def kill(self) -> None:
        """Kill the process, as a failing machine would."""
        self._expected = True
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(ENDING)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = None

    def halt(self, seconds: float) -> None:
        """Halt the process for so many seconds."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            self._stop.wait(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int | None:
        """Ask the process to stop and return its exit status; None if it did not stop and was killed.

        Before it is killed it prints the stacks of its threads to standard error.
        """
        self._expected = True
        self.process.terminate()
        deadline = time.monotonic() + ENDING
        while (status := self.process.poll()) is None and time.monotonic() < deadline:
            if self._stop.wait(LOOK):
                break
        if status is None and not self._stop.is_set():
            self._abort()
        self.kill()
        return status

    def _abort(self) -> None:
        """End the process with SIGABRT, so that it prints the stacks of its threads."""
        self.process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ANSWERING)

    def died(self) -> str | None:
        """Return a line if the process has ended by itself, once; any thread may call this."""
        process = self._process
        if self._expected or process is None or process.poll() is None:
            return None
        self._expected = True
        return f"{self.name} ended by itself, with status {process.returncode}: {self.last_words()}"

    def last_words(self) -> str:
        """Return the last line of its standard error."""
        said = [line.strip() for line in self.complaints() if line.strip()]
        return said[-1].removeprefix("parlour: ") if said else "it said nothing"

    def complaints(self) -> list[str]:
        """Return all lines of its standard error."""
        try:
            return self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def close(self) -> None:
        """Kill the process, if it runs."""
        self.kill()
