"""The load generator against real servers: it must notice every delivery, and every missing one."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.cluster import JsonLines, MemoryLog
from bench.generator import LoadError, run
from bench.machine import server_core
from bench.peers import Floor, Redis
from bench.server import Server
from support.source import ROOT

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the load generator is NOT TESTED")


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Build the generator and the bare server."""
    subprocess.run(["make", "-s", "bench/build/load", "bench/build/floor"], cwd=ROOT, check=True, timeout=60)


SERVERS = [
    MemoryLog,
    JsonLines,
    Floor,
    pytest.param(Redis, marks=pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")),
]


@pytest.mark.parametrize("kind", SERVERS)
def test_everything_is_counted(kind: type[Server], tmp_path: Path) -> None:
    """In several rooms every post reaches every member, in order, and each post is answered with the next."""
    with kind(tmp_path) as server:
        outcome = run(server, Cell(5, 3, 2, rooms=2), warm=0.05, measure=0.2)
    outcome.check()
    assert outcome.posts > 2 * 3 * 2
    assert 0 < outcome.p50 <= outcome.p99 <= outcome.max
    assert 0 < outcome.slowest_room <= 1


def test_the_pace_is_kept(tmp_path: Path) -> None:
    """A paced run sends as many posts as its rate and its time demand, within a quarter."""
    with Floor(tmp_path) as server:
        outcome = run(server, Cell(5, 5, rate=200), warm=0.1, measure=0.5)
    outcome.check()
    assert outcome.posts == pytest.approx(100, rel=0.25)


def test_a_number_of_posts(tmp_path: Path) -> None:
    """With a number of posts for each sender, the generator ends when all are delivered; before, all members join."""
    seen: list[int] = []
    with Floor(tmp_path) as server:
        cell = Cell(50, 1, 1)
        outcome = run(server, cell, "each=1", warm=0, measure=0, on_ready=lambda: seen.append(server_core()))
    outcome.check()
    assert (outcome.posts, outcome.deliveries, len(seen)) == (1, 50, 1)


def test_slow_readers_are_not_counted(tmp_path: Path) -> None:
    """Messages to a slow reader are no deliveries."""
    with Floor(tmp_path) as server:
        outcome = run(server, Cell(5, 1, 1), "slow=1", "each=10", warm=0, measure=0)
    outcome.check()
    assert (outcome.posts, outcome.deliveries) == (10, 40)


class Faulty(Server):
    """A server of frames in this process, for one client; `spoil` changes its first two posts."""

    protocol = "bare"

    def __init__(self, spoil: Callable[[bytes, bytes], bytes]) -> None:
        self.port = 0
        self._running = []
        self._spoil = spoil

    def answer(self, listener: socket.socket) -> None:
        """Serve one connection to its end."""
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream, suppress(OSError):

            def frame() -> bytes:
                head: bytes = stream.read(4)
                return head + stream.read(struct.unpack(">I", head)[0]) if head else b""

            connection.sendall(frame())
            connection.sendall(self._spoil(frame(), frame()))
            while heard := frame():
                connection.sendall(heard)


@contextmanager
def faulty(spoil: Callable[[bytes, bytes], bytes]) -> Iterator[Server]:
    """Run such a server."""
    server = Faulty(spoil)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.answer, args=(listener,), name="faulty")
        thread.start()
        try:
            yield server
        finally:
            thread.join(10)


@pytest.mark.parametrize(
    "spoil", [lambda a, b: a + a + b, lambda a, b: b + a, lambda a, b: a + a], ids=["doubled", "turned", "replaced"]
)
def test_a_fault_is_seen(spoil: Callable[[bytes, bytes], bytes]) -> None:
    """A delivery that is doubled, out of order or in another's place fails the run."""
    with faulty(spoil) as server:
        outcome = run(server, Cell(1, 1, 3), "each=9", warm=0, measure=0.1)
    with pytest.raises(LoadError, match="out of order or doubled"):
        outcome.check()


def test_too_many_processes_are_refused() -> None:
    """The generator refuses them, as it would not count the time of some."""
    command = [str(ROOT / "bench/build/load"), "bare", "1", *["pid=1"] * 33]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "load: more than 32 processes: the time of so many is not counted\n",
    )


def test_a_closed_connection_is_an_error(tmp_path: Path) -> None:
    """A server that closes the connection gives one line of error, not a figure."""
    with Floor(tmp_path) as server:
        server.close()
        with pytest.raises(LoadError, match=r"^(cannot connect|member 0 was cut off)"):
            run(server, Cell(5, 1, 1), warm=0, measure=0.1)
