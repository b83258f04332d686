"""The command `chaos`.

This module owns the options and the words of the command. The main thread waits for the round, which runs on a thread
of its own, or for a signal. The command must never return before everything that it started is gone.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from queue import SimpleQueue

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from parlour.chaos.cluster import OWN_REDIS
from parlour.chaos.report import show, summary
from parlour.chaos.round import Options, RoundOutcome, play
from parlour.chaos.schedule import Kind
from parlour.runtime.options import Number, json_option
from parlour.runtime.output import print_json
from parlour.runtime.signals import wait_for_stop
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["chaos"]

CLOSING = 180.0
"""Seconds that a round has to clean up after it was told to end."""

WIDE = 140
"""Columns if the output is no terminal, so that no line is folded."""

WORST = 8
"""Imperfections that the last line names at most."""

NOTHING = "none"


class _Kinds(click.ParamType[tuple[Kind, ...]]):
    """Kinds of faults, separated by commas, or `none`."""

    name = "KIND,..."

    def convert(
        self, value: str | tuple[Kind, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Kind, ...]:
        """Return the kinds, each once, or fail with the list of all kinds."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if words == [NOTHING]:
            return ()
        for word in words:
            if word not in list(Kind):
                self.fail(f"{word!r} is no kind of fault: give some of {', '.join(Kind)}, or {NOTHING}", param, ctx)
        return tuple(sorted({Kind(word) for word in words}))


@click.command(
    epilog="""\b
Examples:
  parlour chaos
  parlour chaos --seed 7 --fault kill-node,kill-broker --clients 1000 --rooms 20
  parlour chaos --log redis:// --duration 600
  parlour chaos --json --fault none | jq .perfect"""
)
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True, help="How many nodes.")
@click.option("--brokers", type=click.IntRange(1, 8), default=2, show_default=True, help="How many brokers.")
@click.option("--clients", type=click.IntRange(1, 5000), default=100, show_default=True, help="How many clients.")
@click.option("--rooms", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many rooms.")
@click.option(
    "--duration",
    type=Number(1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the clients talk.",
)
@click.option(
    "--log",
    metavar="URL",
    help="The room log; redis:// without a host starts a server.  [default: a SQLite file]",
)
@click.option("--seed", type=int, help="Random seed; repeat a round by reusing it.")
@click.option(
    "--fault",
    "kinds",
    type=_Kinds(),
    help=f"The kinds of faults: {', '.join(Kind)}, or {NOTHING}.  [default: all that is possible]",
)
@click.option("--break", "broken", type=click.Choice(["resume"]), hidden=True)
@json_option
def chaos(
    nodes: int,
    brokers: int,
    clients: int,
    rooms: int,
    duration: float,
    log: str | None,
    seed: int | None,
    kinds: tuple[Kind, ...] | None,
    broken: str | None,
    as_json: bool,
) -> None:
    """Prove that nothing said is lost, whatever dies, on a cluster of its own.

    Starts brokers, nodes and clients as processes. A third of the clients speak JSON lines, the others use the library;
    they post texts, replies, edits, deletions and reactions. Meanwhile the command kills, stops, cuts off and restarts
    what it started. Then it compares what was posted, what was acknowledged, what the log holds, what every member saw
    and what it looks like in the end; a deleted text must be nowhere in the log. Exits with 1 unless all is perfect.

    A time to resume is the longest delay of a message that was said while a client was hit by a fault; the time since
    the answer is the part of it after a broker told the client where to go.
    """
    impossible = {}
    if log != OWN_REDIS:
        impossible[Kind.RESTART_REDIS] = f"restart-redis needs a Redis of its own: give --log {OWN_REDIS}"
    if log not in (None, OWN_REDIS):
        impossible[Kind.SUSPEND_LOG] = f"suspend-log needs a log of its own: give --log {OWN_REDIS}, or leave --log out"
    if nodes == 1:
        impossible[Kind.CUT_RELAY] = "cut-relay needs two nodes: give --nodes 2 or more"
    if kinds is None:
        kinds = tuple(kind for kind in Kind if kind not in impossible)
    for kind in kinds:
        if kind in impossible:
            raise UsageError(impossible[kind])
    if log is not None and log.startswith("memory:"):
        raise UsageError("processes cannot share a log in memory: give --log sqlite:///PATH or redis://")
    seed = secrets.randbelow(10**6) if seed is None else seed
    outcome = _play(Options(nodes, brokers, clients, rooms, duration, log, seed, kinds, broken == "resume"))
    try:
        _show(outcome, as_json)
    finally:
        # The exit status tells the verdict also if nobody reads the tables.
        found = outcome.imperfections
        if found:
            raise ParlourError(f"not perfect with seed {seed}: {'; '.join(found[:WORST])}")


def _show(outcome: RoundOutcome, as_json: bool) -> None:
    if as_json:
        print_json(summary(outcome))
    else:
        console = Console(highlight=False)
        show(outcome, console if console.is_terminal else Console(highlight=False, width=WIDE))


def _play(options: Options) -> RoundOutcome:
    """Play the round on a thread of its own; after a signal raises KeyboardInterrupt, once everything is gone."""
    stop = threading.Event()
    ended: SimpleQueue[int] = SimpleQueue()
    result: Future[RoundOutcome] = Future()
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("")

        def body() -> None:
            """Play the round while the main thread waits for a signal to stop."""
            try:
                result.set_result(play(options, stop, lambda line: progress.update(task, description=line)))
            except BaseException as error:
                result.set_exception(error)
            finally:
                ended.put(0)

        thread = spawn("round", body)
        signalled = wait_for_stop(arrived=ended)
        stop.set()
        join_all([thread], CLOSING)
    if signalled:
        raise KeyboardInterrupt
    return result.result()
