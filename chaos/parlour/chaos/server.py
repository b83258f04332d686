"""A Redis or Valkey server that a round starts, kills, and starts again with everything that it acknowledged.

This module owns the settings of the server and the questions to it; `part` owns its process. It must never touch a
server that it did not start.
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
    """A server on this port with its files in the round's folder; raises UsageError if none is installed."""

    def __init__(self, reaper: Reaper, port: int, stop: threading.Event) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise UsageError(
                "neither redis-server nor valkey-server is installed: install one, or give --log another URL"
            )
        self._port = port
        self._folder = reaper.folder
        # Without a file name the server reads no settings of the machine. Each write is on the disk before the server
        # acknowledges it, as parlour's promise needs; `--save ""` switches automatic snapshots off.
        settings = ["--bind", HOST, "--port", str(port), "--dir", str(reaper.folder), "--save", ""]
        # A snapshot on request is not compressed, so that texts in it can be found.
        settings += ["--rdbcompression", "no"]
        settings += ["--appendonly", "yes", "--appendfsync", "always", "--logfile", str(reaper.folder / "redis.log")]
        super().__init__("redis", [program, *settings], reaper, stop)

    @property
    def url(self) -> str:
        """The URL of the room log in it."""
        return f"redis://{HOST}:{self._port}/0"

    def contents(self) -> bytes:
        """Return a snapshot of everything in the server; raises ParlourError if the server does not make one."""
        try:
            with socket.create_connection((HOST, self._port), SAVING) as connection:
                connection.sendall(b"SAVE\r\n")
                answer = connection.recv(64)
        except OSError as error:
            raise ParlourError(f"redis makes no snapshot: {error}") from None
        if not answer.startswith(b"+OK"):
            raise ParlourError(f"redis makes no snapshot: {answer.decode(errors='replace').strip()}")
        return (self._folder / "dump.rdb").read_bytes()

    def is_ready(self) -> bool:
        """Ask the server, and return whether it answers and has loaded its data."""
        try:
            with socket.create_connection((HOST, self._port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return True
        except OSError:
            pass  # Not yet.
        self._stop.wait(0.02)
        return False
