"""The cost of an assignment: the broker beside a bare echo, and the balancer alone in large fleets.

This module owns the requests to the broker, which the calling thread sends over a socket of its own; it runs on the
bench's own thread. It must never have more requests on the way than the broker's queue holds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import zmq

from bench.machine import cpu
from bench.server import Server
from parlour.broker.balancer import Balancer
from parlour.wire.codec import encode
from parlour.wire.control import Assign, Report
from parlour.wire.limits import PROTOCOL

__all__ = ["Echo", "RouterSpeed", "balancer_cost", "measure_router"]

AT_ONCE = 64
"""Requests on their way."""


class Echo(Server):
    """The ROUTER of bench/echo.py."""

    protocol = "zeromq"

    def start(self) -> None:
        """Start the echo."""
        self.launch(sys.executable, Path(__file__).with_name("echo.py"), str(self.port))
        self.await_port(self.port)


class RouterSpeed(NamedTuple):
    """How fast a ROUTER answers."""

    rate: float
    """Answers a second."""
    cost: float
    """The server's processor seconds per million answers."""


def measure_router(kind: type[Server], count: int) -> RouterSpeed:
    """Ask for `count` assignments and return the speed of the answers; the socket belongs to the calling thread."""
    requests = [encode(Assign(f"m{number}", protocol=PROTOCOL)) for number in range(count)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        kind(Path(folder)) as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect(f"tcp://127.0.0.1:{server.port}")
        socket.send(requests[0])
        socket.recv()
        used, begun = cpu(server.pids[:1]), time.monotonic()
        for number in range(1, count + AT_ONCE):
            if number < count:
                socket.send(requests[number])
            if number > AT_ONCE:
                socket.recv()
        elapsed = time.monotonic() - begun
        return RouterSpeed((count - 1) / elapsed, (cpu(server.pids[:1]) - used) / count * 1e6)


def balancer_cost(nodes: int, count: int) -> float:
    """Return the microseconds that the balancer takes for one assignment in a fleet of this many nodes."""
    balancer = Balancer()
    for number in range(nodes):
        report = Report(
            node=f"n{number}",
            instance=f"n{number}-1",
            address="127.0.0.1:7000",
            relay="127.0.0.1:7001",
            log="log",
            capacity=100_000,
        )
        balancer.report(report, 0.0)
    requests = [Assign(f"m{number}") for number in range(count)]
    costs: list[float] = []
    # In tenths, and the median counts: other work of the machine disturbs few of them.
    for first in range(0, count, count // 10):
        begun = time.perf_counter()
        for number in range(first, first + count // 10):
            balancer.assign(requests[number], number * 1e-5, f"t{number}")
        costs.append((time.perf_counter() - begun) / (count // 10) * 1e6)
    return statistics.median(costs)
