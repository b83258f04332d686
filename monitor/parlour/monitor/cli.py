"""The commands `status`, `monitor`, `why`, `drain` and `rebalance`, for people and for programs.

This module owns their options and their JSON; they run on the main thread, which also owns the feed's socket. It must
never change a cluster in another way than by asking a broker.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from msgspec.structs import asdict
from rich.console import Console, RenderableType
from rich.live import Live

from parlour.monitor import orders
from parlour.monitor.feed import LoadFeed, ask_decisions, ask_fleet
from parlour.monitor.render import decision_table, load_table, moves_table, status_table
from parlour.monitor.table import FleetTable, Snapshot
from parlour.runtime.options import NAME, Number, brokers_option, json_option
from parlour.runtime.output import counted, is_dumb, print_json
from parlour.wire.control import Report
from parlour.wire.errors import ParlourError

__all__ = ["drain", "monitor", "rebalance", "status", "why"]

REFRESH = 0.5
"""Seconds between two pictures of the live table: ages grow although no report comes."""

REPRINT = 2.0
"""Seconds between two pictures if the output is not a terminal, so that every picture stays."""

SILENCE = 5.0
"""Seconds without a publication before the table says so: a broker repeats its list of nodes every 2 s."""

WIDE = 120
"""Columns if the output is not a terminal, so that lines are not folded."""


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


@click.command(epilog="\b\nExamples:\n  parlour status\n  parlour status --broker 10.0.0.5:6000 --json\n")
@brokers_option
@json_option
def status(brokers: Sequence[str], as_json: bool) -> None:
    """Show the nodes of the cluster, with the address where clients reach each."""
    broker, fleet = ask_fleet(brokers)
    snapshot = Snapshot.of_states(fleet.nodes)
    if not as_json:
        _console().print(status_table(broker, fleet.uptime, fleet.assigned, fleet.refused, snapshot))
        return
    print_json(
        {
            "broker": broker,
            "uptime": round(fleet.uptime, 3),
            "nodes": [
                {**row.as_dict(), "pending": state.pending}
                for row, state in zip(snapshot.rows, fleet.nodes, strict=True)
            ],
            "troubles": snapshot.troubles,
            "clients": snapshot.clients,
            "assigned": fleet.assigned,
            "refused": fleet.refused,
        }
    )


@click.command(
    epilog="\b\n"
    "Examples:\n"
    "  parlour monitor\n"
    "  parlour monitor --once --json\n"
    "  parlour monitor --json | jq '[.node, .clients]'\n"
)
@brokers_option
@click.option("--once", is_flag=True, help="Show the load as it is now, and exit.")
@json_option
def monitor(brokers: Sequence[str], once: bool, as_json: bool) -> None:
    """Watch the load of every node, until Ctrl-C.

    Rates are per second. p50 and p99 tell how long a message waits inside a node. Imbalance is the number of clients
    of the fullest node divided by its share, which is proportional to its capacity.

    With --json, prints one line for each report when it comes.
    """
    if once:
        _once(brokers, as_json)
        return
    with LoadFeed(brokers) as feed:
        try:
            if as_json:
                _stream(feed)
            else:
                _watch(feed)
        except KeyboardInterrupt:
            # Ctrl-C is the only way to end this command, so it is no failure.
            return


def _once(brokers: Sequence[str], as_json: bool) -> None:
    broker, fleet = ask_fleet(brokers)
    snapshot = Snapshot.of_states(fleet.nodes)
    if as_json:
        print_json({"broker": broker, **snapshot.as_dict()})
    else:
        _console().print(load_table(broker, snapshot))


def _stream(feed: LoadFeed) -> None:
    while True:
        for report in feed.reports(SILENCE):
            print_json({**asdict(report), "received": round(time.time() * 1000)})


def _watch(feed: LoadFeed) -> None:
    table = FleetTable()
    broker, fleet = ask_fleet([feed.broker])
    table.seed(fleet.nodes, time.monotonic())
    console = _console()
    if not console.is_terminal or is_dumb():
        _show(feed, table, broker, REPRINT, console.print)
        return
    # Not with rich's own refreshing, which would use a thread that we do not own.
    with Live(console=console, auto_refresh=False) as live:
        _show(feed, table, broker, REFRESH, lambda picture: live.update(picture, refresh=True))


def _show(feed: LoadFeed, table: FleetTable, broker: str, every: float, show: Callable[[RenderableType], Any]) -> None:
    heard = time.monotonic()
    due = heard
    while True:
        now = time.monotonic()
        if now >= due:
            silent = now - heard
            show(load_table(broker, table.snapshot(now), silent if silent > SILENCE else 0.0))
            due = now + every
        publication = feed.receive(due - now if due > now else 0.0)
        if publication is None:
            continue
        heard = time.monotonic()
        if isinstance(publication, Report):
            table.add(publication, heard)
        else:
            table.apply(publication, heard)


@click.command(epilog="\b\nExamples:\n  parlour why ada\n  parlour why lobby --json\n")
@click.argument("subject", metavar="NAME|ROOM", type=NAME)
@brokers_option
@json_option
def why(subject: str, brokers: Sequence[str], as_json: bool) -> None:
    """Explain why the broker sent a client, or the clients that asked for a room, to their nodes.

    Prints the decisions that the broker remembers, newest first: the nodes that it chose from, the load and the age of
    the last report of each, and the reason.
    """
    found = ask_decisions(brokers, subject)
    if not found:
        raise ParlourError(
            f"the broker remembers no client and no room named {subject!r}: it keeps decisions since its start only"
        )
    if as_json:
        print_json({"subject": subject, "decisions": found})
        return
    console = _console()
    for decision in found:
        console.print(decision_table(decision))


@click.command(epilog="\b\nExamples:\n  parlour drain n1\n  parlour drain n1 --deadline 120\n")
@click.argument("node", metavar="NODE", type=NAME)
@brokers_option
@click.option(
    "--deadline",
    type=Number(min=0.0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for all clients to move. Clients still connected after it are cut off and reconnect by themselves.",
)
def drain(node: str, brokers: Sequence[str], deadline: float) -> None:
    """Move all clients of a node to the others, and stop it.

    The node takes no new clients from now on. Its clients connect to another node before they close their connection,
    so no client seems to leave and none misses a message. Waits until the node has left the fleet.
    """
    terminal = sys.stderr.isatty() and not is_dumb()

    def progress(left: int) -> None:
        if terminal:
            click.echo(f"\r\x1b[K{node}: {counted(left, 'client')} to move", err=True, nl=False)

    try:
        moved = orders.drain(brokers, node, deadline, progress)
    finally:
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
    click.echo(f"{node} drained: {counted(moved, 'client')} moved")


@click.command(epilog="\b\nExamples:\n  parlour rebalance --plan\n  parlour rebalance\n  parlour rebalance --json\n")
@click.option("--plan", is_flag=True, help="Only show the moves.")
@brokers_option
@json_option
def rebalance(plan: bool, brokers: Sequence[str], as_json: bool) -> None:
    """Move clients from nodes that have more than their share to nodes that have less.

    The share of a node is proportional to its capacity. Exactly the surplus moves; no client moves if each node is
    within 2 clients or 5 % of its share. Waits until the nodes report that the clients have moved.
    """
    done = orders.rebalance(brokers, plan)
    if as_json:
        print_json(
            {
                "broker": done.broker,
                "plan": plan,
                "moves": [{"from": source, "to": target, "clients": count} for source, target, count in done.moves],
                "before": round(done.before, 4),
                "after": None if done.after is None else round(done.after, 4),
            }
        )
        return
    if not done.moves:
        click.echo(f"nothing to move: imbalance {done.before:.2f}")
        return
    _console().print(moves_table(done.moves))
    after = "" if done.after is None else f" before, {done.after:.2f} after"
    click.echo(f"imbalance {done.before:.2f}{after}")
