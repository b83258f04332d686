"""The command `parlour node`.

This module owns the command's options and help; it runs on the main thread. It must never decide anything: the Node
does all the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from parlour.node.log.retention import Retention
from parlour.node.settings import NodeSettings
from parlour.runtime.options import (
    ADDRESS,
    NAME,
    Checked,
    Number,
    brokers_option,
    log_file_option,
    log_options,
    metrics_option,
)

__all__ = ["node", "retain_option", "signin_options"]

F = TypeVar("F", bound=Callable[..., Any])

_READABLE = click.Path(exists=True, dir_okay=False, readable=True, resolve_path=True)

_DEFAULTS = NodeSettings()


def retain_option(command: F) -> F:
    """Add the option `--retain`, which must be the same for all nodes of a cluster."""
    return click.option(
        "--retain",
        type=Checked("COUNT,AGE", Retention.parse),
        help="The messages to keep in each room: COUNT, an AGE such as 12h or 30d, or both.  [default: all]",
    )(command)


def signin_options(command: F) -> F:
    """Add the options that tell who may come in; they must be the same for all nodes of a cluster."""
    options = [
        click.option(
            "--registration",
            type=click.Choice(["open", "invite", "closed"]),
            default=_DEFAULTS.registration,
            show_default=True,
            help="Who may make an account: anybody, people with an invitation, or operators alone.",
        ),
        click.option(
            "--guests",
            type=click.Choice(["yes", "no"]),
            help="Whether people without an account may come in.  [default: yes on loopback, no elsewhere]",
        ),
        click.option(
            "--jwt-key",
            type=_READABLE,
            help="Take the tokens (JWT) of your own site, which this key signs: a public key in PEM, or a secret.",
        ),
        click.option(
            "--post-rate",
            type=Number(0, 100_000),
            default=_DEFAULTS.post_rate,
            show_default=True,
            help="Posts a second that a person may say, with a burst of ten seconds' worth; 0: no limit.",
        ),
        click.option(
            "--address-rate",
            type=Number(0, 100_000),
            default=_DEFAULTS.address_rate,
            show_default=True,
            help="Connections a second from one address, with a burst of ten seconds' worth; 0: no limit.",
        ),
        click.option("--jwks", type=_READABLE, help="The same with a JSON Web Key Set."),
        click.option(
            "--jwt-name-claim",
            metavar="CLAIM",
            default=_DEFAULTS.jwt_name_claim,
            show_default=True,
            help="The claim that has the account's name.",
        ),
        click.option(
            "--jwt-operator-claim",
            metavar="CLAIM",
            help="The claim that makes its account an operator if it is true.  [default: none does]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    epilog="Example: parlour node --broker 10.0.0.1:6000 --listen 10.0.0.2:7000 --log sqlite:///srv/rooms.sqlite"
)
@brokers_option
@click.option(
    "--listen",
    type=ADDRESS,
    default=_DEFAULTS.listen,
    show_default=True,
    help="The address for clients; port 0: a free one.",
)
@click.option("--advertise", type=ADDRESS, help="The address that clients are told.  [default: that of --listen]")
@click.option("--name", type=NAME, help="The node's name.  [default: host name and port]")
@click.option(
    "--capacity",
    type=click.IntRange(1, 100_000),
    default=_DEFAULTS.capacity,
    show_default=True,
    help="The largest number of clients.",
)
@click.option(
    "--log", metavar="URL", help="The room log.  [default: a SQLite file in your data directory, one per broker]"
)
@retain_option
@signin_options
@click.option(
    "--relay", type=ADDRESS, help="The address for the other nodes.  [default: a free port on the host of --listen]"
)
@click.option("--relay-loss", type=Number(0, 1), default=0.0, hidden=True)
@click.option("--relay-via", type=(NAME, ADDRESS), multiple=True, hidden=True)
@metrics_option
@log_options
@log_file_option
def node(
    brokers: tuple[str, ...],
    listen: str,
    advertise: str | None,
    name: str | None,
    capacity: int,
    log: str | None,
    retain: str | None,
    registration: str,
    post_rate: float,
    address_rate: float,
    guests: str | None,
    jwt_key: str | None,
    jwks: str | None,
    jwt_name_claim: str,
    jwt_operator_claim: str | None,
    relay: str | None,
    relay_loss: float,
    relay_via: tuple[tuple[str, str], ...],
    metrics: str | None,
    log_format: str,
    log_level: str | None,
    log_file: str | None,
) -> None:
    """Run a chat node: clients that the broker sends here talk with those on the other nodes.

    Nodes that share one room log are one cluster. On SIGTERM a node sends its clients to the other nodes before it
    ends; on Ctrl-C it ends at once.
    """
    import gc
    import signal
    import sys
    from contextlib import ExitStack

    from parlour.node.node import Node
    from parlour.runtime.descriptors import raise_limit
    from parlour.runtime.log_urls import default_log
    from parlour.runtime.logs import configured_logging, node_log
    from parlour.runtime.signals import end_on_failure, exit_on_interrupt, wait_for_stop

    raise_limit()
    # Each thread that waits for the interpreter asks for it at this interval. At the default of 5 ms, a thousand
    # waiting threads, as after a post to a room in which all members answer, took all its time by asking.
    sys.setswitchinterval(0.1)
    gc.freeze()  # imported objects stay: a busy node saves 8 % of its time if collections skip them
    note = ""
    if log is None:
        log, note = default_log(min(brokers))  # the same log, whichever broker is named first
    service = Node(
        NodeSettings(
            brokers=brokers,
            listen=listen,
            advertise=advertise,
            name=name,
            capacity=capacity,
            log=log,
            retention=Retention.parse(retain) if retain else None,
            registration=registration,
            post_rate=post_rate,
            address_rate=address_rate,
            guests=None if guests is None else guests == "yes",
            jwt_key=jwt_key,
            jwks=jwks,
            jwt_name_claim=jwt_name_claim,
            jwt_operator_claim=jwt_operator_claim,
            relay=relay,
            relay_loss=relay_loss,
            relay_via=relay_via,
        )
    )
    end_on_failure(service.stop_wanted)
    with exit_on_interrupt(), ExitStack() as opened:
        opened.enter_context(
            configured_logging(f"node {name}" if name else "node", log_format, log_level or "info", log_file)
        )
        if metrics is not None:
            from parlour.node.metrics import NodeFigures  # the library loads slowly, and few nodes need it
            from parlour.runtime.metrics import serving_metrics

            figures = NodeFigures(service)
            opened.enter_context(serving_metrics("node", metrics, figures.collect, figures.not_ready_reason))
        if note:
            node_log.warning("%s", note)
        service.start()
        opened.callback(service.stop)
        if wait_for_stop(f"node {service.name} ready at {service.address}", service.stop_wanted) == signal.SIGTERM:
            service.drain(service.drain_for)
