"""What an assignment costs: the broker beside a bare echo, and the balancer's own thinking in large fleets.

This module owns the questions to the broker, asked by the calling thread over a socket of its own; it runs on the
bench's own thread. It must never let more questions be on their way than the broker's queue holds.
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

__all__ = ["Echo", "Pace", "balancer_cost", "pace"]

AT_ONCE = 64
"""Questions on their way."""


class Echo(Server):
    """The ROUTER of bench/echo.py."""

    protocol = "zeromq"

    def start(self) -> None:
        """Start it."""
        self.launch(sys.executable, Path(__file__).with_name("echo.py"), str(self.port))
        self.await_port(self.port)


class Pace(NamedTuple):
    """How quick a ROUTER answers."""

    rate: float
    """Answers a second."""
    cost: float
    """Processor seconds of the server's per million answers."""


def pace(kind: type[Server], count: int) -> Pace:
    """Ask for so many assignments and return how quickly the answers came; the socket is the calling thread's."""
    questions = [encode(Assign(f"m{number}", protocol=PROTOCOL)) for number in range(count)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        kind(Path(folder)) as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect(f"tcp://127.0.0.1:{server.port}")
        socket.send(questions[0])
        socket.recv()
        used, begun = cpu(server.pids[:1]), time.monotonic()
        for number in range(1, count + AT_ONCE):
            if number < count:
                socket.send(questions[number])
            if number > AT_ONCE:
                socket.recv()
        elapsed = time.monotonic() - begun
        return Pace((count - 1) / elapsed, (cpu(server.pids[:1]) - used) / count * 1e6)


def balancer_cost(nodes: int, count: int) -> float:
    """Return the microseconds that one assignment takes the balancer in a fleet of so many nodes."""
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
    # In tenths, of which the median counts: what else the machine does meanwhile hits few of them.
    for first in range(0, count, count // 10):
        begun = time.perf_counter()
        for number in range(first, first + count // 10):
            balancer.assign(requests[number], number * 1e-5, f"t{number}")
        costs.append((time.perf_counter() - begun) / (count // 10) * 1e6)
    return statistics.median(costs)
