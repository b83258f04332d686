"""The commands `up` and `down`: a whole cluster on this machine, in the foreground or in the background.

This module owns their options and the lines that they print; it runs on the main thread. It must never stop a process
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
from parlour.cli.signals import Signals
from parlour.cli.state import SavedState, Setup, StateFolder
from parlour.node.cli import retain_option, signin_options
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.log_urls import default_log
from parlour.runtime.operator_messages import printable
from parlour.runtime.options import ADDRESS, log_options, metrics_option
from parlour.runtime.signals import print_ready
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["down", "ready_line", "up"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_NODES = 64
"""Nodes at most: a larger number on one machine is probably a typing error."""

LISTED = 8
"""Nodes whose addresses the `ready` line lists: a line with more would be hard to read."""


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
    """Return the line that tells the addresses of the broker and the nodes; `nodes` maps names to addresses."""
    told = [f"{name} at {address}" for name, address in list(nodes.items())[:LISTED]]
    more = len(nodes) - len(told)
    told += [f"and {more} more: see `parlour status`"] if more else []
    return printable(f"ready: broker {broker}, {', '.join(told)}{note}")


def _stopped_line(broker: str, nodes: Sequence[str], note: str = "") -> str:
    return f"stopped: broker {broker}, {' '.join(['nodes', *nodes]) if nodes else 'no nodes'}{note}"


def _check_that_nothing_runs(broker: str, folder: StateFolder) -> None:
    """Raise ParlourError if a cluster, or a part of one, runs at this address; tell how to stop or complete it."""
    parts = folder.load().running
    if parts:
        raise ParlourError(
            f"{_labels(parts)} of `parlour up -d` run{'s' * (len(parts) == 1)} at {broker} already: stop with "
            f"`parlour down --broker {broker}`, or start the missing parts with `parlour up -d --broker {broker}`"
        )
    nodes = running_nodes(broker)
    if nodes is not None:
        raise _foreign_cluster_error(broker, nodes)


def _foreign_cluster_error(broker: str, nodes: Mapping[str, str]) -> ParlourError:
    what = "a cluster" if nodes else "a broker without nodes"
    return ParlourError(
        f"{what} that `parlour up -d` did not start runs at {broker} already: add nodes to it with "
        f"`parlour node --broker {broker}`, stop it where it was started, or choose another address with --broker"
    )


def _run_detached(broker: str, given: Mapping[str, Any]) -> None:
    folder = StateFolder(broker)
    with folder.locked():
        saved = folder.load()
        if saved.running:
            _check_given(broker, saved, given)
        else:
            nodes = running_nodes(broker)
            if nodes is not None:
                if given or not nodes:
                    raise _foreign_cluster_error(broker, nodes)
                click.echo(ready_line(broker, nodes, " (already running; not started by `parlour up -d`)"))
                return
        # `down` removes the state, so what is here belongs to a cluster that died: it comes back with its options.
        setup = replace(saved.setup or Setup(), **given)
        _check_setup(setup)
        moved = saved.setup is not None and setup.listen != saved.setup.listen
        ports = NodePorts(broker, setup, {} if moved else saved.ports)
        if setup.log is None:
            _warn_of_empty_log(broker)
        cluster = Cluster(broker, setup, ports, folder, saved.parts)
        try:
            with Signals() as signals:
                nodes = cluster.start(signals.wait)
        except BaseException:
            if saved.setup is None:
                folder.forget()
            else:
                folder.save(saved.parts, saved.setup, saved.ports)
            raise
        folder.save(cluster.children, setup, ports.chosen)
    if not cluster.started:
        note = " (already running)"
    elif saved.parts:
        note = f" (started {_labels(cluster.started)})"
    else:
        note = ""
    click.echo(ready_line(broker, nodes, note))


def _check_given(broker: str, saved: SavedState, given: Mapping[str, Any]) -> None:
    """Raise ParlourError if these options differ from those of the cluster that runs."""
    for name, value in given.items():
        if name != "nodes" and value != getattr(saved.setup, name):
            raise ParlourError(
                f"the cluster at {broker} runs with another --{name.replace('_', '-')}: leave that option out, "
                f"or stop the cluster first with `parlour down --broker {broker}`"
            )
    most = given.get("nodes", MAX_NODES)
    more = [part for part in saved.running if part.name not in ("broker", *Setup(most).names)]
    if more:
        raise ParlourError(
            f"{_labels(more)} run{'s' * (len(more) == 1)} at {broker} already, more than --nodes {most} allows: stop a "
            f"node and keep its clients with `parlour drain {more[-1].name} --broker {broker}`"
        )


def _warn_of_empty_log(broker: str) -> None:
    """Print a line if the nodes' default log begins empty beside another log that the user may mean."""
    _, note = default_log(broker)
    if note:
        click.echo(f"parlour: {note}", err=True)


def _check_setup(setup: Setup) -> None:
    """Raise UsageError if no cluster can run with these options."""
    if setup.nodes > 1 and setup.log is not None and setup.log.startswith("memory:"):
        raise UsageError("nodes cannot share a log in memory: use --nodes 1, or --log sqlite:///PATH or redis://…")
    if setup.metrics is not None and not 0 < parse_address(setup.metrics)[1] <= 65535 - setup.nodes:
        raise UsageError(
            f"--metrics needs a port from 1 to {65535 - setup.nodes}: the broker uses it, and the nodes the next ones"
        )


def _run_in_foreground(broker: str, setup: Setup) -> None:
    _check_setup(setup)
    ports = NodePorts(broker, setup)
    _check_that_nothing_runs(broker, StateFolder(broker))
    if setup.log is None:
        _warn_of_empty_log(broker)
    cluster = Cluster(broker, setup, ports, None)
    with Signals() as signals:
        try:
            print_ready(ready_line(broker, cluster.start(signals.wait)))
            _watch(cluster, signals)
        except KeyboardInterrupt:
            pass
        finally:
            cluster.stop()
    click.echo(_stopped_line(broker, setup.names))


def _watch(cluster: Cluster, signals: Signals) -> None:
    # When a part dies, people go on talking on the others. So print a line for each death and keep the rest.
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
    raise ParlourError("all parts of the cluster have ended: start it again with `parlour up`")


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
@signin_options
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
    **signin: str | None,
) -> None:
    """Start a broker and nodes on this machine.

    When all nodes are in the fleet, prints a line that begins with `ready` and tells their addresses. Then waits for
    Ctrl-C, which stops all parts; with --detach it returns. Run it again with --detach to start parts that have died,
    at the same ports, or to add nodes with --nodes.
    """
    if parse_address(broker)[1] == 0:
        raise UsageError("the nodes must know the broker's port: give --broker a port other than 0")
    options: dict[str, Any] = {
        "nodes": nodes,
        "listen": listen,
        "log": log,
        "retain": retain,
        "metrics": metrics,
        "log_format": log_format,
        "log_level": log_level,
        **signin,
    }
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    if detach:
        _run_detached(broker, given)
    else:
        _run_in_foreground(broker, Setup(**given))


@click.command(epilog="\b\nExamples:\n  parlour down\n  parlour down --broker 127.0.0.1:7000\n")
@_broker_option
def down(broker: str) -> None:
    """Stop the cluster that `parlour up --detach` started."""
    folder = StateFolder(broker)
    with folder.locked():
        saved = folder.load()
        running = saved.running
        if not running:
            folder.forget()
            raise ParlourError(f"there is nothing to stop: {_what_runs(broker)}")
        killed = stop_all(running)
        folder.forget()
    nodes = [child.name for child in running if child.name != "broker"]
    ended = [part for part in saved.parts if part not in running]
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
    return f"`parlour up --detach` did not start the program at {broker}: stop it where it was started"


def _labels(parts: Sequence[Child]) -> str:
    *others, last = [part.label for part in parts]
    return f"{', '.join(others)} and {last}" if others else last
