"""The commands `up` and `down`: a whole cluster on this machine, in the foreground or in the background.

This module owns their options and the lines they print; it runs on the main thread. It must never stop a process
that `up` did not start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from parlour.cli.child import Child, stop_all
from parlour.cli.cluster import Cluster, running_nodes
from parlour.cli.record import Record
from parlour.cli.signals import Signals
from parlour.node.cli import retain_option
from parlour.runtime.asking import DEFAULT_BROKER
from parlour.runtime.options import ADDRESS, log_options, metrics_option
from parlour.runtime.signals import announce
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["down", "up"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_NODES = 64
"""More node processes than this on one machine are a slip of the finger."""


def _broker_option(command: F) -> F:
    return click.option(
        "--broker",
        type=ADDRESS,
        default=DEFAULT_BROKER,
        envvar="PARLOUR_BROKER",
        show_default=True,
        show_envvar=True,
        help="The broker's address.",
    )(command)


def _line(word: str, broker: str, nodes: Sequence[str], note: str = "") -> str:
    return f"{word}: broker {broker}, {' '.join(['nodes', *nodes]) if nodes else 'no nodes'}{note}"


def _refuse_occupied(broker: str, nodes: list[str] | None) -> None:
    if nodes is not None:
        what = "a cluster" if nodes else "a broker without nodes"
        raise ParlourError(f"{what} runs at {broker} already: stop that, or choose another address with --broker")


def _in_background(cluster: Cluster, record: Record) -> None:
    with record.locked():
        nodes = running_nodes(cluster.broker)
        if nodes:
            click.echo(_line("ready", cluster.broker, nodes, " (already running)"))
            return
        _refuse_occupied(cluster.broker, nodes)
        left = record.load()
        if left:
            raise ParlourError(
                f"{', '.join(child.label for child in left)} of an earlier cluster still run{'s' * (len(left) == 1)}: "
                f"stop that with `parlour down --broker {cluster.broker}` first"
            )
        with Signals() as signals:
            cluster.start(signals.wait)
        click.echo(_line("ready", cluster.broker, cluster.nodes))


def _in_foreground(cluster: Cluster) -> None:
    _refuse_occupied(cluster.broker, running_nodes(cluster.broker))
    with Signals() as signals:
        try:
            cluster.start(signals.wait)
            announce(_line("ready", cluster.broker, cluster.nodes))
            _mind(cluster, signals)
        except KeyboardInterrupt:
            pass
        finally:
            cluster.stop()
    click.echo(_line("stopped", cluster.broker, cluster.nodes))


def _mind(cluster: Cluster, signals: Signals) -> None:
    # What is left goes on talking when one part has died, so each death is told and the rest is kept.
    living = list(cluster.children)
    while living:
        signals.wait(3600.0)
        for child in [child for child in living if not child.alive]:
            living.remove(child)
            child.release()
            click.echo(
                f"parlour: {child.label} ended with status {child.status}: its output is above",
                err=True,
            )
    raise ParlourError("nothing of the cluster is left: start it again with `parlour up`")


@click.command(
    epilog="\b\n"
    "Examples:\n"
    "  parlour up\n"
    "  parlour up --detach --nodes 3\n"
    "  parlour up -d --broker 127.0.0.1:7000 --log sqlite:////tmp/trial.db\n"
)
@click.option("-d", "--detach", is_flag=True, help="Return when the cluster is ready; `parlour down` stops it.")
@click.option("--nodes", type=click.IntRange(1, MAX_NODES), default=2, show_default=True, help="How many nodes.")
@_broker_option
@click.option("--log", metavar="URL", help="The room log that the nodes share; a file of yours by default.")
@retain_option
@metrics_option
@log_options
def up(
    detach: bool,
    nodes: int,
    broker: str,
    log: str | None,
    retain: str | None,
    metrics: str | None,
    log_format: str,
    log_level: str | None,
) -> None:
    """Start a broker and nodes on this machine.

    Prints a line that begins with `ready` when all nodes are in the fleet. Stays until Ctrl-C, which stops them
    all, unless told to --detach.
    """
    if parse_address(broker)[1] == 0:
        raise UsageError("nodes must be told the broker's port: give --broker one that is not 0")
    if nodes > 1 and log is not None and log.startswith("memory:"):
        raise UsageError("a log in memory is one node's own: say --nodes 1, or --log sqlite:///PATH or redis://")
    if metrics is not None and not 0 < parse_address(metrics)[1] <= 65535 - nodes:
        raise UsageError("--metrics names the broker's port, above which each node takes another: not 0, nor too high")
    names = [f"n{number}" for number in range(1, nodes + 1)]
    if detach:
        record = Record(broker)
        _in_background(Cluster(broker, names, log, retain, log_format, log_level, metrics, record), record)
    else:
        _in_foreground(Cluster(broker, names, log, retain, log_format, log_level, metrics, None))


@click.command(epilog="\b\nExamples:\n  parlour down\n  parlour down --broker 127.0.0.1:7000\n")
@_broker_option
def down(broker: str) -> None:
    """Stop the cluster that `parlour up --detach` started."""
    record = Record(broker)
    with record.locked():
        children = record.load()
        if not children:
            record.forget()
            raise ParlourError(f"there is nothing to stop: no cluster of `parlour up --detach` runs at {broker}")
        killed = stop_all(children)
        record.forget()
    click.echo(_line("stopped", broker, _nodes(children), _note(killed)))


def _nodes(children: list[Child]) -> list[str]:
    return [child.name for child in children if child.name != "broker"]


def _note(killed: list[Child]) -> str:
    return f" ({', '.join(child.label for child in killed)} had to be killed)" if killed else ""
