"""A Redis or Valkey server of a round's own, which may be killed and started again with all that it acknowledged.

This module owns the server's settings and how it is known to be ready; see `part` for its process. It must never touch
a server that it did not start.
"""

from __future__ import annotations

import shutil
import socket
import threading

from parlour.chaos.part import Part
from parlour.chaos.ports import HOST
from parlour.chaos.reaper import Reaper
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["Server"]

SAVING = 60.0
"""Seconds that a snapshot may take."""

PROGRAMS = ("redis-server", "valkey-server")


class Server(Part):
    """The server, on this port and with its files in the round's folder; raises UsageError if none is installed."""

    def __init__(self, reaper: Reaper, port: int, stop: threading.Event) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise UsageError(
                "neither redis-server nor valkey-server is installed: install one, or give --log another URL"
            )
        self._port = port
        self._folder = reaper.folder
        # No file of settings, which would be the machine's. Each write is on the disk before it is acknowledged, which
        # is what the promise needs; `--save ""` switches snapshots off.
        settings = ["--bind", HOST, "--port", str(port), "--dir", str(reaper.folder), "--save", ""]
        # Nor is a snapshot compressed, so that one sees what is in it.
        settings += ["--rdbcompression", "no"]
        settings += ["--appendonly", "yes", "--appendfsync", "always", "--logfile", str(reaper.folder / "redis.log")]
        super().__init__("redis", [program, *settings], reaper, stop)

    @property
    def url(self) -> str:
        """The URL of the room log in it."""
        return f"redis://{HOST}:{self._port}/0"

    def contents(self) -> bytes:
        """Return a snapshot of all that the server holds; raises ParlourError if it does not give one."""
        try:
            with socket.create_connection((HOST, self._port), SAVING) as connection:
                connection.sendall(b"SAVE\r\n")
                answer = connection.recv(64)
        except OSError as error:
            raise ParlourError(f"redis gives no snapshot: {error}") from None
        if not answer.startswith(b"+OK"):
            raise ParlourError(f"redis gives no snapshot: {answer.decode(errors='replace').strip()}")
        return (self._folder / "dump.rdb").read_bytes()

    def is_ready(self) -> bool:
        """Whether it answers and has its data loaded."""
        try:
            with socket.create_connection((HOST, self._port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return True
        except OSError:
            pass  # Not yet.
        self._stop.wait(0.02)
        return False
