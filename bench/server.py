"""A server under measurement: its processes on the servers' core, and all its files in one folder.

This module starts it, waits until it accepts connections, and ends it; it runs on the bench's own thread. It must never
touch a server that it did not start, nor leave one behind.
"""

from __future__ import annotations

import os
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
"""Seconds that a server has to accept its first connection, and to end."""

# Below the range that the system uses for outgoing connections, of which the generator makes thousands. Processes that
# begin at the same time look for ports at different places.
_ports = iter(range(18_000 + os.getpid() % 100 * 100, 32_000))


class StartError(Exception):
    """A server did not start; the text tells why."""


def free_ports(count: int) -> int:
    """Return the first of `count` free ports in a row, which were not returned before."""
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
    raise StartError("no ports are free below 32000: end some of the programs that listen there")


class Server:
    """One server; a subclass configures and starts it.

    Attributes:
        protocol: the protocol that the load generator speaks with it.
        package: its Debian package, or "".
        max_round: deliveries of one round of all senders at most; a larger cell is skipped, as it would take minutes.
        stop_signal: the signal that ends it at once.
        entering: members that may connect and join at once.
        ports: the number of ports in a row that it needs.
        asked: the command that prints its version in the first line.
    """

    protocol: ClassVar[str]
    package: ClassVar[str] = ""
    max_round: ClassVar[int] = 1_000_000_000
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    entering: ClassVar[int] = 256
    ports: ClassVar[int] = 1
    asked: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(self.ports)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all its programs with `launch`."""
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        """Return its version, as it prints it."""
        done = subprocess.run(cls.asked, capture_output=True, text=True, check=False, timeout=20)
        return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "unknown")

    def tickets(self, count: int) -> Iterator[str]:
        """Yield a line for the generator for each of `count` members."""
        return iter(())

    @property
    def pids(self) -> list[int]:
        """The ids of the server's processes, whose time is measured."""
        return [process.pid for process in self._running]

    def launch(self, *command: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program of the server; its output goes to a file, for `output`."""
        if shutil.which(command[0]) is None:
            raise StartError(f"{command[0]} is not installed: install it or leave it out")
        with (self.folder / "output").open("ab") as output:
            self._running.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    cwd=self.folder,
                    preexec_fn=on_core(server_core()),
                    start_new_session=True,
                )
            )
        return self._running[-1]

    def output(self) -> str:
        """Return the output of the server's programs."""
        return (self.folder / "output").read_text(errors="replace")

    def write(self, name: str, text: str) -> Path:
        """Write a configuration file, and return its path."""
        path = self.folder / name
        path.write_text(text)
        return path

    def await_port(self, port: int, hello: bytes = b"", answer: bytes = b"") -> None:
        """Wait until the port accepts connections and, if `hello` is given, replies to it with `answer`."""
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
        raise StartError(f"{type(self).__name__} did not start: {self.output()[-500:] or 'it printed nothing'}")

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
        """End the programs, the last started first."""
        for process in reversed(self._running):
            process.send_signal(self.stop_signal)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
