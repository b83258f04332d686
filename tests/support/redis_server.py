"""A Redis or Valkey server for a test, on a free port and with its files in the test's folder.

This module owns the server's process, which a test may kill, halt and start again; it runs on the test's thread. It
must never touch a server that it did not start.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.ports import free_ports
from support.waiting import MS, eventually

__all__ = ["MISSING", "SLOTS", "SYNCED", "RedisServer", "missing", "redis_cluster", "redis_server"]


def missing(program: str) -> str:
    """Return why the tests that need this server cannot run, or ""."""
    return (
        ""
        if shutil.which(program)
        else f"{program} is not installed: the room log in it is NOT TESTED (apt install it)"
    )


MISSING = missing("redis-server")
"""Why the tests that need Redis cannot run, or ""."""

SYNCED = ("--appendonly", "yes", "--appendfsync", "always")
"""The settings under which no acknowledged post is lost."""

SLOTS = 16384
"""The hash slots of a cluster."""


class RedisServer:
    """One server, which keeps its port and its files (unless it is emptied) from one start to the next."""

    def __init__(self, folder: Path, *options: str, program: str = "redis-server") -> None:
        self.program = program
        self.folder = folder
        self.options = options
        self.port = free_ports(2)  # the second port is for the other servers of a cluster
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its room log."""
        return f"redis://127.0.0.1:{self.port}/0"

    @contextmanager
    def client(self, **options: Any) -> Iterator[Any]:
        """Yield a connection to the server."""
        client = redis.Redis(port=self.port, decode_responses=True, retry=Retry(NoBackoff(), 0), **options)
        try:
            yield client
        finally:
            client.close()

    def start(self, *options: str, wait: bool = True) -> None:
        """Start the server with these additional options; return when it answers and has loaded its data."""
        # Without a configuration file, which would be the machine's; `--save ""` switches snapshots off.
        command = [self.program, "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        command += ["--port", str(self.port), "--cluster-port", str(self.port + 1), *self.options, *options]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if wait:
            eventually(self._answers, what=f"Redis on port {self.port}, which says {self.folder / 'server.log'},")

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            return False  # the server has not started, or is still loading

    def sees_all_slots(self) -> bool:
        """Whether the server, as one of a cluster, knows servers for all slots, and works."""
        with self.client() as client:
            info = client.cluster("INFO")
        return bool(info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the server and the children that write its files, like a failing machine."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10_000 * MS)
            self._process = None

    def empty(self) -> None:
        """Remove its files; the server must not run."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def halted(self) -> bool:
        """Whether the server has stopped after SIGSTOP."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextmanager
def redis_server(folder: Path, *options: str, program: str = "redis-server") -> Iterator[RedisServer]:
    """Run a server until the block ends."""
    server = RedisServer(folder, *options, program=program)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def redis_cluster(folder: Path, *options: str, count: int = 3) -> Iterator[list[RedisServer]]:
    """Run a cluster of primaries with equal shares of the slots until the block ends; it goes on if one is missing."""
    options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", *options)
    with ExitStack() as stack:
        servers: list[RedisServer] = []
        for number in range(count):
            home = folder / str(number)
            home.mkdir()
            servers.append(stack.enter_context(redis_server(home, *options)))
        for number, server in enumerate(servers):
            with server.client() as client:
                client.cluster("SET-CONFIG-EPOCH", number + 1)
                client.cluster("ADDSLOTSRANGE", SLOTS * number // count, SLOTS * (number + 1) // count - 1)
                if number:
                    client.cluster("MEET", "127.0.0.1", servers[0].port, servers[0].port + 1)
        for server in servers:
            eventually(server.sees_all_slots, 20, what="a cluster of which all servers know")
        yield servers
