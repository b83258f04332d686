"""A server under measurement: its processes, on the core that servers have, with all its files in one folder.

This module owns starting it, waiting until it takes connections, and ending it; it runs on the bench's own thread. It
must never touch a server that it did not start, nor leave one behind.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from bench.machine import on_core, server_core

__all__ = ["Server", "StartError", "free_ports"]

PATIENCE = 30.0
"""Seconds that a server has to take its first connection, and to end."""

# Below the range that the system gives to outgoing connections by itself, of which the generator makes thousands.
_ports = iter(range(18_000, 32_000))


class StartError(Exception):
    """A server did not start; the text tells why."""


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on and that were not given out before."""
    free = 0
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                free = 0
                continue
        free += 1
        if free == count:
            return port + 1 - count
    raise StartError("no ports are free below 32000")


class Server:
    """One server; a subclass says how it is configured and started.

    Attributes:
        protocol: what the load generator speaks to it.
        package: the Debian package that it comes with, or nothing.
        heaviest: deliveries that one round of all senders may ask of it at most; a cell that asks more is left out,
            as it would take minutes.
        farewell: the signal on which it ends at once.
        entering: members that may be on their way in at once.
        ports: how many it needs in a row.
        asked: the command whose first line tells its version.
    """

    protocol: ClassVar[str]
    package: ClassVar[str] = ""
    heaviest: ClassVar[int] = 1_000_000_000
    farewell: ClassVar[signal.Signals] = signal.SIGTERM
    entering: ClassVar[int] = 256
    ports: ClassVar[int] = 1
    asked: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(self.ports)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything that it consists of, with `launch`."""
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        """Return what it calls itself."""
        done = subprocess.run(cls.asked, capture_output=True, text=True, check=False, timeout=20)
        return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "unknown")

    def tickets(self, count: int) -> Iterator[str]:
        """Yield what the generator must be told for each of so many members, a line each."""
        return iter(())

    @property
    def pids(self) -> list[int]:
        """The processes whose time is the server's."""
        return [process.pid for process in self._running]

    def launch(self, *command: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program of the server's; what it prints goes to a file in the folder, for `said`."""
        if shutil.which(command[0]) is None:
            raise StartError(f"{command[0]} is not installed")
        with (self.folder / "said").open("ab") as said:
            self._running.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=environment,
                    cwd=self.folder,
                    preexec_fn=on_core(server_core()),
                    start_new_session=True,
                )
            )
        return self._running[-1]

    def said(self) -> str:
        """Return what the server's programs have printed."""
        return (self.folder / "said").read_text(errors="replace")

    def write(self, name: str, text: str) -> Path:
        """Write a file of settings, and return where it lies."""
        path = self.folder / name
        path.write_text(text)
        return path

    def await_port(self, port: int, hello: bytes = b"", answer: bytes = b"") -> None:
        """Wait until somebody takes connections at this port, and answers this to that if anything is given."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and all(process.poll() is None for process in self._running):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                    probe.sendall(hello)
                    heard = b""
                    while answer not in heard and (more := probe.recv(4096)):
                        heard += more
                    if answer in heard:
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise StartError(f"{type(self).__name__} did not start: {self.said()[-500:] or 'it said nothing'}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what runs, the last started first."""
        for process in reversed(self._running):
            process.send_signal(self.farewell)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
