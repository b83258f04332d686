"""The commands `status`, `monitor`, `why`, `drain` and `rebalance`: the fleet, for people and for programs.

This module owns their options and their JSON; they run on the main thread, which owns the feed's socket too. It must
never change anything in the cluster but by asking a broker for it.
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
"""Seconds between two pictures of the live table, whose ages grow also while nothing comes."""

REPRINT = 2.0
"""The same where the output is no terminal and every picture stays."""

SILENCE = 5.0
"""Seconds without any publication after which the table says so: a broker repeats its roster every 2 s."""

WIDE = 120
"""Columns where the output is no terminal, so that no line is folded."""


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


@click.command(epilog="\b\nExamples:\n  parlour status\n  parlour status --broker 10.0.0.5:6000 --json\n")
@brokers_option
@json_option
def status(brokers: Sequence[str], as_json: bool) -> None:
    """Show the nodes of the cluster."""
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

    Rates are per second; p50 and p99 are how long a message waits inside a node; imbalance is the clients of the
    fullest node divided by its share, which goes by capacity.

    With --json, prints a line per report as it comes.
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
            # The one way to leave what goes on for ever is no failure.
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
    # Without rich's own refreshing, which would be a thread that nobody joins by name.
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
            table.report(publication, heard)
        else:
            table.roster(publication, heard)


@click.command(epilog="\b\nExamples:\n  parlour why ada\n  parlour why lobby --json\n")
@click.argument("subject", metavar="NAME|ROOM", type=NAME)
@brokers_option
@json_option
def why(subject: str, brokers: Sequence[str], as_json: bool) -> None:
    """Explain why a client, or the clients that asked for a room, were sent to their nodes.

    Prints what the broker remembers, newest first: the nodes it chose from, what it knew of each and how old that
    was, and the reason.
    """
    found = ask_decisions(brokers, subject)
    if not found:
        raise ParlourError(
            f"the broker remembers nobody and no room called {subject!r}: decisions are kept since its start"
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
    help="Time for all clients to move; the node then stops, and who is left must come back alone.",
)
def drain(node: str, brokers: Sequence[str], deadline: float) -> None:
    """Move all clients of a node to the others, and stop it.

    The node takes no new clients at once. Those present open a connection to another node before they close theirs,
    so nobody is seen to leave and no message is missed. Waits until the node has left the fleet.
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
@click.option("--plan", is_flag=True, help="Only show what would be moved.")
@brokers_option
@json_option
def rebalance(plan: bool, brokers: Sequence[str], as_json: bool) -> None:
    """Move clients from nodes that serve more than their share to those that serve less.

    Shares go by capacity. Exactly the surplus moves, and nothing if no node is more than 2 clients and 5 % off its
    share. Waits until the nodes report that it is done.
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
