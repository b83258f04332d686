"""The commands `up` and `down`: a whole cluster on this machine, in the foreground or in the background.

This module owns their options and the lines they print; it runs on the main thread. It must never stop a process
that `up` did not start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from parlour.cli.child import Child, stop_all
from parlour.cli.cluster import Cluster, running_nodes
from parlour.cli.ports import NodePorts
from parlour.cli.record import Record, Recorded, Setup
from parlour.cli.signals import Signals
from parlour.node.cli import retain_option
from parlour.node.log.opening import default_log
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.operator_messages import printable
from parlour.runtime.options import ADDRESS, log_options, metrics_option
from parlour.runtime.signals import print_ready
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["down", "ready_line", "up"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_NODES = 64
"""More node processes than this on one machine are a slip of the finger."""

SHOWN = 8
"""Nodes whose addresses stand in the line of `up`: with more it would be too long to read."""


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


def ready_line(broker: str, nodes: Mapping[str, str], note: str = "") -> str:
    """Return the line that says where the broker and the nodes are; `nodes` are addresses by name."""
    told = [f"{name} at {address}" for name, address in list(nodes.items())[:SHOWN]]
    more = len(nodes) - len(told)
    told += [f"and {more} more: see `parlour status`"] if more else []
    return printable(f"ready: broker {broker}, {', '.join(told)}{note}")


def _stopped_line(broker: str, nodes: Sequence[str], note: str = "") -> str:
    return f"stopped: broker {broker}, {' '.join(['nodes', *nodes]) if nodes else 'no nodes'}{note}"


def _refuse_occupied(broker: str, record: Record) -> None:
    """Raise ParlourError if a cluster, or some of one, runs there, with the way to stop it or to go on with it."""
    parts = record.load().running
    if parts:
        raise ParlourError(
            f"{_labels(parts)} of `parlour up -d` run{'s' * (len(parts) == 1)} at {broker} already: "
            f"`parlour down --broker {broker}` stops, `parlour up -d --broker {broker}` completes that"
        )
    nodes = running_nodes(broker)
    if nodes is not None:
        raise _foreign(broker, nodes)


def _foreign(broker: str, nodes: Mapping[str, str]) -> ParlourError:
    what = "a cluster" if nodes else "a broker without nodes"
    return ParlourError(
        f"{what} that `parlour up -d` did not start runs at {broker} already: add nodes to it with "
        f"`parlour node --broker {broker}`, stop it where it was started, or choose another address with --broker"
    )


def _in_background(broker: str, given: Mapping[str, Any]) -> None:
    record = Record(broker)
    with record.locked():
        recorded = record.load()
        if recorded.running:
            _refuse_contradictions(broker, recorded, given)
        else:
            nodes = running_nodes(broker)
            if nodes is not None:
                if given or not nodes:
                    raise _foreign(broker, nodes)
                click.echo(ready_line(broker, nodes, " (already running; not started by `parlour up -d`)"))
                return
        # A record that `down` has not removed is of a cluster that died: it is to come back as it was.
        setup = replace(recorded.setup or Setup(), **given)
        _refuse_impossible(setup)
        moved = recorded.setup is not None and setup.listen != recorded.setup.listen
        ports = NodePorts(broker, setup, {} if moved else recorded.ports)
        if setup.log is None:
            _tell_of_log(broker)
        cluster = Cluster(broker, setup, ports, record, recorded.parts)
        try:
            with Signals() as signals:
                nodes = cluster.start(signals.wait)
        except BaseException:
            if recorded.setup is None:
                record.forget()
            else:
                record.save(recorded.parts, recorded.setup, recorded.ports)
            raise
        record.save(cluster.children, setup, ports.chosen)
    if not cluster.started:
        note = " (already running)"
    elif recorded.parts:
        note = f" (started {_labels(cluster.started)})"
    else:
        note = ""
    click.echo(ready_line(broker, nodes, note))


def _refuse_contradictions(broker: str, recorded: Recorded, given: Mapping[str, Any]) -> None:
    """Raise ParlourError if the options do not fit what runs."""
    for name, value in given.items():
        if name != "nodes" and value != getattr(recorded.setup, name):
            raise ParlourError(
                f"the cluster at {broker} runs with another --{name.replace('_', '-')}: leave that out, "
                f"or stop it first with `parlour down --broker {broker}`"
            )
    most = given.get("nodes", MAX_NODES)
    names = [part.name for part in recorded.running if part.name not in ("broker", *Setup(most).names)]
    if names:
        raise ParlourError(
            f"{' '.join(['nodes', *names])} run{'s' * (len(names) == 1)} at {broker} beyond --nodes {most}: "
            f"`parlour drain {names[-1]} --broker {broker}` stops one and keeps its clients"
        )


def _tell_of_log(broker: str) -> None:
    """Say so if the log that the nodes use by default begins empty beside one that may be meant."""
    _, note = default_log(broker)
    if note:
        click.echo(f"parlour: {note}", err=True)


def _refuse_impossible(setup: Setup) -> None:
    if setup.nodes > 1 and setup.log is not None and setup.log.startswith("memory:"):
        raise UsageError("a log in memory is one node's own: say --nodes 1, or --log sqlite:///PATH or redis://")
    if setup.metrics is not None and not 0 < parse_address(setup.metrics)[1] <= 65535 - setup.nodes:
        raise UsageError("--metrics names the broker's port, above which each node takes another: not 0, nor too high")


def _in_foreground(broker: str, setup: Setup) -> None:
    _refuse_impossible(setup)
    ports = NodePorts(broker, setup)
    _refuse_occupied(broker, Record(broker))
    if setup.log is None:
        _tell_of_log(broker)
    cluster = Cluster(broker, setup, ports, None)
    with Signals() as signals:
        try:
            print_ready(ready_line(broker, cluster.start(signals.wait)))
            _mind(cluster, signals)
        except KeyboardInterrupt:
            pass
        finally:
            cluster.stop()
    click.echo(_stopped_line(broker, setup.names))


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
    "  parlour up -d --listen 0.0.0.0:7000\n"
    "  parlour up -d --broker 127.0.0.1:7000 --log sqlite:////tmp/trial.db\n"
)
@click.option("-d", "--detach", is_flag=True, help="Return when the cluster is ready; `parlour down` stops it.")
@click.option("--nodes", type=click.IntRange(1, MAX_NODES), default=2, show_default=True, help="How many nodes.")
@_broker_option
@click.option(
    "--listen",
    type=ADDRESS,
    help="Where clients reach the first node; the others take the next ports.  [default: 10 ports above --broker]",
)
@click.option("--log", metavar="URL", help="The room log that the nodes share; a file of yours by default.")
@retain_option
@metrics_option
@log_options
def up(
    detach: bool,
    nodes: int,
    broker: str,
    listen: str | None,
    log: str | None,
    retain: str | None,
    metrics: str | None,
    log_format: str,
    log_level: str | None,
) -> None:
    """Start a broker and nodes on this machine.

    Prints a line that begins with `ready` and tells the nodes' addresses, when all are in the fleet. Stays until
    Ctrl-C, which stops them all, unless told to --detach. Run again with --detach it starts what has died, at the same
    ports, and the nodes that --nodes asks for in addition.
    """
    if parse_address(broker)[1] == 0:
        raise UsageError("nodes must be told the broker's port: give --broker one that is not 0")
    options: dict[str, Any] = {
        "nodes": nodes,
        "listen": listen,
        "log": log,
        "retain": retain,
        "metrics": metrics,
        "log_format": log_format,
        "log_level": log_level,
    }
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    if detach:
        _in_background(broker, given)
    else:
        _in_foreground(broker, Setup(**given))


@click.command(epilog="\b\nExamples:\n  parlour down\n  parlour down --broker 127.0.0.1:7000\n")
@_broker_option
def down(broker: str) -> None:
    """Stop the cluster that `parlour up --detach` started."""
    record = Record(broker)
    with record.locked():
        recorded = record.load()
        running = recorded.running
        if not running:
            record.forget()
            raise ParlourError(f"there is nothing to stop: {_what_runs(broker)}")
        killed = stop_all(running)
        record.forget()
    nodes = [child.name for child in running if child.name != "broker"]
    ended = [part for part in recorded.parts if part not in running]
    notes = [
        f"{_labels(parts)} had {how}" for parts, how in ((ended, "ended before"), (killed, "to be killed")) if parts
    ]
    note = f" ({'; '.join(notes)})" if notes else ""
    if any(child.name == "broker" for child in running):
        click.echo(_stopped_line(broker, nodes, note))
    else:
        click.echo(f"stopped: {' '.join(['nodes', *nodes])}{note}")


def _what_runs(broker: str) -> str:
    try:
        if running_nodes(broker) is None:
            return f"no cluster of `parlour up --detach` runs at {broker}"
    except ParlourError:
        pass
    return f"what runs at {broker} was not started by `parlour up --detach`: stop it where it was started"


def _labels(parts: Sequence[Child]) -> str:
    *others, last = [part.label for part in parts]
    return f"{', '.join(others)} and {last}" if others else last
