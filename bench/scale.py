"""Measurements of parlour besides fan-out: ten thousand clients, slow readers, two nodes, storms at the broker.

This module owns these measurements, each of which yields its findings; it runs on the bench's own thread. It must never
hide a figure that misses its aim.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.brokerage import Echo, balancer_cost, measure_router
from bench.cell import Cell
from bench.cluster import Parlour, TwoNodes
from bench.generator import Outcome, run
from bench.machine import relay_share, resident
from bench.series import show_progress
from bench.server import Server

__all__ = ["Finding", "Size", "findings"]


class Finding(NamedTuple):
    """One figure and its aim."""

    what: str
    figure: str
    aim: str = ""


class Size(NamedTuple):
    """The size of all measurements; small values only check that everything works."""

    clients: int = 10_000
    runs: int = 7
    seconds: float = 3.0
    assignments: int = 40_000
    fleet: int = 10_000


def _medians(size: Size, measurements: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of each measurement; they run in turn."""
    found: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(size.runs):
        for name, measure in measurements.items():
            found[name].append(measure())
            show_progress(f"{name}: {found[name][-1]:,.2f}")
    return {name: statistics.median(values) for name, values in found.items()}


def _outcome(kind: type[Server], cell: Cell, size: Size, *options: str) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(Path(folder)) as server:
        outcome = run(server, cell, *options, warm=size.seconds / 3, measure=size.seconds)
    outcome.check()
    return outcome


def _crowd(size: Size) -> Iterator[Finding]:
    memory: list[int] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Parlour(Path(folder)) as server:
        node = server.pids[1:]
        memory.append(resident(node))

        def on_ready() -> None:
            time.sleep(size.seconds)  # Until the node has sent all presence.
            memory.append(resident(node))

        outcome = run(server, Cell(size.clients, 1, 1), "each=1", warm=0, measure=0, on_ready=on_ready)
        outcome.check()
    who = f"{size.clients:,} clients on one node"
    yield Finding(f"{who}: connected and joined through the broker", f"{outcome.entered_in:.1f} s", "15 s")
    each = (memory[1] - memory[0]) / size.clients / 1024
    yield Finding(f"{who}: resident memory of the node per idle client", f"{each:.1f} KiB", "64 KiB")
    text = f"{outcome.deliveries:,} deliveries, first half {outcome.p50 / 1000:.0f} ms, all {outcome.max / 1000:.0f} ms"
    yield Finding(f"{who}: one message to all", text, "none lost")


def _slow_reader(size: Size) -> Iterator[Finding]:
    def posts(cell: Cell, *options: str) -> float:
        outcome = _outcome(Parlour, cell, size, *options)
        return outcome.posts / outcome.seconds

    without, beside = "99 members without a slow reader, posts/s", "99 members beside a slow reader, posts/s"
    found = _medians(
        size,
        {
            without: lambda: posts(Cell(99, 10, 16)),
            beside: lambda: posts(Cell(100, 10, 16), "slow=1"),
        },
    )
    yield Finding(without, f"{found[without]:,.0f}")
    yield Finding(beside, f"{found[beside]:,.0f} ({found[beside] / found[without]:.0%})", "95 %")


def _two_nodes(size: Size) -> Iterator[Finding]:
    # With few members the cost of a post dominates, with many members the cost of a batch for each member.
    for members in (100, 1000):
        yield from _over_two_nodes(size, members)


def _over_two_nodes(size: Size, members: int) -> Iterator[Finding]:
    shares: list[float] = []

    def posts(kind: type[Parlour]) -> float:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(Path(folder)) as server:
            outcome = run(server, Cell(members, 10, 16), warm=size.seconds / 3, measure=size.seconds)
            outcome.check()
            if kind is TwoNodes:
                shares.append(relay_share(server.pids[1:]))
        return outcome.posts / max(0.01, outcome.server_user + outcome.server_system)

    one, two = (f"{members} members {where}, posts per CPU second" for where in ("on one node", "over two nodes"))
    found = _medians(size, {one: lambda: posts(Parlour), two: lambda: posts(TwoNodes)})
    yield Finding(one, f"{found[one]:,.0f}")
    yield Finding(two, f"{found[two]:,.0f} ({found[two] / found[one]:.0%})", "100 %, less the relay's share")
    yield Finding("of it the relay's share: its threads and ZeroMQ's own", f"{statistics.median(shares):.0%}")


def _broker(size: Size) -> Iterator[Finding]:
    costs: dict[str, list[float]] = {}

    def rate(kind: type[Server]) -> float:
        measured = measure_router(kind, size.assignments)
        costs.setdefault(kind.__name__, []).append(measured.cost)
        return measured.rate

    echo, broker = "bare pyzmq ROUTER, echoes/s", "broker, assignments/s"
    found = _medians(size, {echo: lambda: rate(Echo), broker: lambda: rate(Parlour)})
    cost = {name: statistics.median(values) for name, values in costs.items()}
    yield Finding(echo, f"{found[echo]:,.0f} ({cost['Echo']:.0f} CPU s per million)")
    text = f"{found[broker]:,.0f} ({found[broker] / found[echo]:.0%}; {cost['Parlour']:.0f} CPU s per million)"
    yield Finding(broker, text, "40 %")


def _balancer(size: Size) -> Iterator[Finding]:
    few, many = "balancer, 10 nodes, µs per assignment", f"balancer, {size.fleet:,} nodes, µs per assignment"
    count = size.assignments // 2
    found = _medians(size, {few: lambda: balancer_cost(10, count), many: lambda: balancer_cost(size.fleet, count)})
    yield Finding(few, f"{found[few]:.1f}")
    yield Finding(many, f"{found[many]:.1f} ({found[many] / found[few]:.2f} x)", "2 x")


def findings(size: Size) -> Iterator[Finding]:
    """Measure everything, and yield each finding as soon as it is known."""
    for measure in (_crowd, _slow_reader, _two_nodes, _broker, _balancer):
        yield from measure(size)
