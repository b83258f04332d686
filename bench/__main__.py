"""The command `python -m bench`, which `make bench` and `make bench-peers` run.

This module owns its subcommands and the folder of results; it runs on the main thread. It must never measure anything
itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from bench.cell import ALONE, DIALECTS, QUICK, SIDE_BY_SIDE, Cell
from bench.cluster import JsonLines, MemoryLog, Parlour, RedisLog
from bench.limits import limit_findings
from bench.machine import describe, generator_core, server_core
from bench.packages import install
from bench.peers import Floor, Inspircd, Mosquitto, Nats, Ngircd, Redis
from bench.people import Crowd, crowd_findings
from bench.scale import Finding, Size, findings
from bench.series import Series, show_progress
from bench.server import Server
from bench.table import page, scale_page
from bench.xmpp import Ejabberd, Prosody

__all__: list[str] = []

RESULTS = Path(__file__).with_name("results")


PEERS: dict[str, type[Server]] = {
    "Redis": Redis,
    "NATS": Nats,
    "ngIRCd": Ngircd,
    "InspIRCd": Inspircd,
    "Mosquitto": Mosquitto,
    "ejabberd": Ejabberd,
    "Prosody": Prosody,
}


def _write(name: str, record: str, page: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f"{record}\n")
    (RESULTS / f"{name}.md").write_text(page)
    click.echo(page)


def _measure(
    name: str, contestants: Mapping[str, type[Server]], cells: list[Cell], seconds: float, quick: bool
) -> None:
    """Measure the cells with all contestants (with `quick`, two cells for a moment) and save the results as `name`."""
    series = Series(contestants)
    if quick:
        series.measure(QUICK, runs=1, warm=0.2, seconds=0.5)
    else:
        series.measure(cells, runs=3, warm=0.5, seconds=seconds)
    _write(name, json.dumps(series.record(), indent=1), page(series))


quick_option = click.option("--quick", is_flag=True, help="Only check that everything works.")


@click.group()
def bench() -> None:
    """Measure parlour, alone or beside other servers. Results are written to bench/results."""
    if generator_core() == server_core():
        raise click.ClickException("the bench needs two cores: on one, servers and load generator would share it")
    os.sched_setaffinity(0, {generator_core()})
    # Debian keeps servers here, and not every user has it in the path.
    os.environ["PATH"] += ":/usr/sbin"


@bench.command()
@quick_option
def alone(quick: bool) -> None:
    """Compare parlour's room logs, to show the cost of durability."""
    _measure("alone", {"memory://": MemoryLog, "sqlite://": Parlour, "redis://": RedisLog}, ALONE, 1.0, quick)


@bench.command()
@quick_option
def dialects(quick: bool) -> None:
    """Compare parlour's dialects, to show the cost of JSON lines beside frames."""
    _measure("dialects", {"frames": Parlour, "JSON lines": JsonLines}, DIALECTS, 1.0, quick)


@bench.command()
@quick_option
def peers(quick: bool) -> None:
    """Compare parlour with servers from Debian, and with a bare fan-out in C."""
    there = install(kind.package for kind in PEERS.values())
    contestants = {name: kind for name, kind in PEERS.items() if kind.package in there}
    _measure("peers", {"parlour": Parlour, **contestants, "bare C": Floor}, SIDE_BY_SIDE, 2.0, quick)


@bench.command()
@quick_option
def scale(quick: bool) -> None:
    """Measure parlour under many clients, slow readers, two nodes, and storms at the broker."""
    size = Size(clients=200, runs=1, seconds=0.5, assignments=2000, fleet=100) if quick else Size()
    _find("scale", findings(size))


@bench.command()
@quick_option
def people(quick: bool) -> None:
    """Measure parlour with many accounts, and many rooms that have a state."""
    _find("people", crowd_findings(Crowd(accounts=100, rooms=100, rounds=3) if quick else Crowd()))


@bench.command()
@quick_option
def limits(quick: bool) -> None:
    """Measure how long posts of chatters take beside flooders, with the limits that a node has by default."""
    _find("limits", limit_findings(pairs=1, seconds=1.0) if quick else limit_findings(pairs=7, seconds=20.0))


def _find(name: str, findings: Iterable[Finding]) -> None:
    """Show each finding as it comes, and save all as `name`."""
    found: list[Finding] = []
    for finding in findings:
        show_progress(f"{finding.what}: {finding.figure}")
        found.append(finding)
    record = {"machine": describe(), "findings": [finding._asdict() for finding in found]}
    _write(name, json.dumps(record, indent=1), scale_page(found))


if __name__ == "__main__":
    bench()
