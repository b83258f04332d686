"""Parlour as a server under measurement: a broker, one or two nodes, and one of the room logs.

This module starts them as an operator would, and gets a ticket from the broker for each member; it runs on the bench's
own thread. It must never set anything that a user's node would not have, except its capacity and its limits.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import zmq

from bench.peers import Redis
from bench.server import PATIENCE, Server, StartError
from parlour.wire.codec import decode_reply, encode
from parlour.wire.control import Assign, Assigned
from parlour.wire.limits import PROTOCOL, parse_address

__all__ = ["JsonLines", "Limited", "MemoryLog", "Parlour", "RedisLog", "TwoNodes"]

CAPACITY = 100_000
"""Clients that a node accepts: more than any cell has."""

AT_ONCE = 64
"""Requests on their way to the broker."""

PROGRAM = (sys.executable, "-m", "parlour.cli")


class Parlour(Server):
    """A broker and a node with its default room log, a SQLite file."""

    protocol = "parlour"
    stop_signal = signal.SIGINT
    ports = 3
    nodes: ClassVar[int] = 1
    limits: ClassVar[tuple[str, ...]] = ("--post-rate", "0")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._log = ""
        self.broker = f"127.0.0.1:{self.port}"

    @classmethod
    def version(cls) -> str:
        """Return the versions of Python and of the log's engine."""
        import sqlite3

        return f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"

    def log(self) -> str:
        """Return the URL of the room log."""
        return f"sqlite://{quote(str(self.folder))}/rooms.sqlite"

    def start(self) -> None:
        """Start the broker, then the nodes."""
        self._log = self.log()
        self.launch(*PROGRAM, "broker", "--bind", self.broker)
        self._await_ready(1)
        for _ in range(self.nodes):
            self.add_node()

    def add_node(self) -> None:
        """Start a node, and wait until it is ready."""
        number = self.output().count(" ready at ")  # the broker and the nodes before
        options = ("--name", f"n{number}", "--broker", self.broker, "--capacity", str(CAPACITY), "--log", self._log)
        self.launch(*PROGRAM, "node", *options, *self.limits)
        self._await_ready(1 + number)

    def _await_ready(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.output().count(" ready at ") < count:
            if self._running[-1].poll() is not None or time.monotonic() > deadline:
                raise StartError(f"parlour did not start: {self.output()[-500:]}")
            time.sleep(0.02)

    def tickets(self, count: int) -> Iterator[str]:
        """Ask the broker for each member, and yield the port and the ticket from its answer.

        The socket belongs to the calling thread.
        """
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.rcvtimeo = int(PATIENCE * 1000)
            socket.connect(f"tcp://{self.broker}")
            for number in range(count + AT_ONCE):
                if number < count:
                    socket.send(encode(Assign(f"m{number}", protocol=PROTOCOL)))
                # The broker answers requests in order, so each ticket fits its name.
                if number >= AT_ONCE:
                    reply = decode_reply(socket.recv())
                    if not isinstance(reply, Assigned):
                        raise StartError(f"the broker gave no node: {reply}")
                    yield f"{parse_address(reply.address)[1]} {reply.ticket}"


class MemoryLog(Parlour):
    """Parlour without durability: the difference is the cost of the log."""

    def log(self) -> str:
        """Return the URL of a log that is lost when the node ends."""
        return "memory://"


class Limited(Parlour):
    """Parlour with the limits that a node has by default."""

    limits = ()

    @property
    def node_port(self) -> int:
        """The port of its node for clients."""
        return int(self.output().split(" ready at ")[2].split()[0].rpartition(":")[2])


class JsonLines(Parlour):
    """Parlour with members that speak JSON lines."""

    protocol = "lines"


class TwoNodes(Parlour):
    """Parlour with its members on two nodes, on the same core."""

    nodes = 2


class RedisLog(Parlour):
    """Parlour with the log for several machines; the Redis server's time counts as parlour's."""

    package = "redis-server"

    def log(self) -> str:
        """Start a Redis server with an append-only file and its default settings for it, and return its URL."""
        store = Redis(self.folder)
        self.launch(*store.command("--appendonly", "yes"))
        self.await_port(store.port)
        return f"redis://127.0.0.1:{store.port}/0"

    @classmethod
    def version(cls) -> str:
        """Return the version of the log's engine."""
        return Redis.version() if shutil.which("redis-server") else "not installed"
