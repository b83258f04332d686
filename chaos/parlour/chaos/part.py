"""One process of the cluster under test: started, killed, halted, told to stop, and started again at the same place.

This module owns the process and the file that takes its errors. The thread of whoever does something to the part calls
it, one at a time. It must never leave a process behind once `close` has returned.
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
"""Seconds that a part has to be ready, however often it has to be started: a killed node's name is taken for 3."""

CHUNK = 64 * 1024
"""Bytes that are read at once of what a part prints."""

LOOK = 0.05
"""Seconds between two looks whether it has ended instead."""

AGAIN = 0.3
"""Seconds between two attempts to start."""

ANSWERING = 20.0
"""Seconds that a part has to print the line that is waited for."""

ENDING = 15.0
"""Seconds that a part may take to end when it is told to, before it is killed; a draining node promises 9."""


def parlour(*arguments: str) -> list[str]:
    """Return the command line of `parlour ARGUMENTS`."""
    return module("parlour.cli", *arguments)


def module(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module with this very interpreter; SIGABRT makes it say where it stood."""
    return [sys.executable, "-X", "faulthandler", "-m", name, *arguments]


class Part:
    """A process that prints a line with `ready` in it once it is there."""

    def __init__(self, name: str, command: Sequence[str], reaper: Reaper, stop: threading.Event) -> None:
        """Prepare the part; `stop` makes every wait give up."""
        self.name = name
        self._command = command
        self._reaper = reaper
        self._errors = reaper.folder / f"{name}.err"
        self._printed = b""  # and not yet asked for
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None
        self._expected = True  # whether it is we who made it end
        self._ran = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; raises ParlourError if there is none."""
        if self._process is None:
            raise ParlourError(f"{self.name} does not run")
        return self._process

    def start(self, *options: str) -> None:
        """Start it, with these options besides its own, and return when it is ready.

        One that ran before is started again if it ends at once. Raises ParlourError, with its own last words, if it is
        not ready within its time.
        """
        deadline = time.monotonic() + STARTING
        while not self._begin([*self._command, *options], deadline):
            self.kill()
            # What else is away comes back, and a name is free again; what never ran has other reasons, which stay.
            if not self._ran or self._stop.wait(AGAIN) or time.monotonic() >= deadline:
                raise ParlourError(f"{self.name} did not start: {self.last_words()}")
        self._expected = False
        self._ran = True

    def _begin(self, command: Sequence[str], deadline: float) -> bool:
        """Start the process and wait until it is ready; return False if it ended or time is up."""
        with self._errors.open("ab") as errors:
            # In a session of its own, so that Ctrl-C at the terminal reaches us alone.
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
        """Whether it has said that it is ready, which is waited for a little."""
        return b"ready" in self._line(LOOK)

    def tell(self, line: str) -> None:
        """Write a line to its standard input; raises ParlourError if it is gone."""
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
        """Return the next line that it prints, or nothing if none comes in time, or ever."""
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
        """End it as a failing machine would."""
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
        """Let it not run for so long."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            self._stop.wait(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int | None:
        """Ask it to stop and return its exit status; None if it had to be killed as it did not.

        Its errors then tell where each of its threads stood.
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
        """End it so that it writes to its errors where each thread stood."""
        self.process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ANSWERING)

    def died(self) -> str | None:
        """Return what to say if it has ended by itself; any thread may ask."""
        process = self._process
        if self._expected or process is None or process.poll() is None:
            return None
        self._expected = True
        return f"{self.name} ended by itself, with status {process.returncode}: {self.last_words()}"

    def last_words(self) -> str:
        """Return the last line of its errors."""
        said = [line.strip() for line in self.complaints() if line.strip()]
        return said[-1].removeprefix("parlour: ") if said else "it said nothing"

    def complaints(self) -> list[str]:
        """Return the lines that it ever wrote to its errors."""
        try:
            return self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def close(self) -> None:
        """End it at once, if it runs."""
        self.kill()
