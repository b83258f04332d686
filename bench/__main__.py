"""`python -m bench`: what `make bench` and `make bench-peers` run.

This module owns the commands and where results lie; it runs on the main thread. It must never measure anything itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from bench.cell import ALONE, QUICK
from bench.cluster import MemoryLog, Parlour, RedisLog
from bench.machine import generator_core
from bench.series import Series
from bench.server import Server
from bench.table import page

__all__: list[str] = []

RESULTS = Path(__file__).with_name("results")


@click.group()
def bench() -> None:
    """Measure parlour, alone or beside other servers; results land in bench/results."""
    os.sched_setaffinity(0, {generator_core()})


@bench.command()
@click.option("--quick", is_flag=True, help="Only see that everything works.")
def alone(quick: bool) -> None:
    """Compare parlour's room logs: what durability costs."""
    contestants: dict[str, type[Server]] = {"memory://": MemoryLog, "sqlite://": Parlour, "redis://": RedisLog}
    series = Series(contestants)
    if quick:
        series.measure(QUICK, runs=1, warm=0.2, seconds=0.5)
    else:
        series.measure(ALONE, runs=3, warm=0.5, seconds=1.0)
    text = page(series)
    series.save(RESULTS, "alone", text)
    click.echo(text)


if __name__ == "__main__":
    bench()
