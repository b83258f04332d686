"""The command `chaos`.

This module owns the command's options and words. The main thread waits for the round, which has a thread of its own,
or for the signal to end it. It must never return before all that was started is gone.
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
from parlour.chaos.round import Options, Outcome, play
from parlour.chaos.schedule import Kind
from parlour.runtime.options import Number, json_option
from parlour.runtime.output import print_json
from parlour.runtime.signals import wait_for_stop
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["chaos"]

CLOSING = 180.0
"""Seconds that a round which was told to end may take to clean up."""

WIDE = 140
"""Columns where the output is no terminal, so that no line is folded."""

WORST = 8
"""Imperfections that are told in the last line."""

NOTHING = "none"


class _Kinds(click.ParamType[tuple[Kind, ...]]):
    """Kinds of faults, separated by commas; `none` is none of them."""

    name = "KIND,..."

    def convert(
        self, value: str | tuple[Kind, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Kind, ...]:
        """Return the kinds, each once, or fail with the list of those that there are."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if words == [NOTHING]:
            return ()
        for word in words:
            if word not in list(Kind):
                self.fail(f"{word!r} is no fault: there are {', '.join(Kind)}, or {NOTHING}", param, ctx)
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
    help="How long they talk.",
)
@click.option(
    "--log", metavar="URL", help="The room log; redis:// without a host starts a server.  [default: a SQLite file]"
)
@click.option("--seed", type=int, help="Do what was done in another round.  [default: by chance]")
@click.option(
    "--fault",
    "kinds",
    type=_Kinds(),
    help=f"What to do to them: {', '.join(Kind)}, or {NOTHING}.  [default: all that is possible]",
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
    """Prove that nothing said is lost, whatever dies: on a cluster of its own, to which all sorts of things are done.

    Starts brokers and nodes as processes, lets clients talk, kills, stops, cuts off and restarts what it started, and
    compares what was said, what was acknowledged, what the log holds and what every member saw. Exits with 1 unless
    all is perfect. A time to resume is the longest that a message said during a fault was late at a client it hit; the
    time since the answer is what of it came after a broker told the client where to go.
    """
    impossible = {}
    if log != OWN_REDIS:
        impossible[Kind.RESTART_REDIS] = f"restart-redis needs a server of our own: say --log {OWN_REDIS}"
    if log not in (None, OWN_REDIS):
        impossible[Kind.SUSPEND_LOG] = f"suspend-log needs a log of our own: say --log {OWN_REDIS}, or leave --log out"
    if nodes == 1:
        impossible[Kind.CUT_RELAY] = "cut-relay needs two nodes: say --nodes 2, or more"
    if kinds is None:
        kinds = tuple(kind for kind in Kind if kind not in impossible)
    for kind in kinds:
        if kind in impossible:
            raise UsageError(impossible[kind])
    if log is not None and log.startswith("memory:"):
        raise UsageError("a log in memory is not shared by processes: say --log sqlite:///PATH, redis://, or nothing")
    seed = secrets.randbelow(10**6) if seed is None else seed
    outcome = _play(Options(nodes, brokers, clients, rooms, duration, log, seed, kinds, broken == "resume"))
    try:
        _show(outcome, as_json)
    finally:
        # The verdict is what it is, also if nobody reads how it came about.
        found = outcome.imperfections
        if found:
            raise ParlourError(f"not perfect with seed {seed}: {'; '.join(found[:WORST])}")


def _show(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(summary(outcome))
    else:
        console = Console(highlight=False)
        show(outcome, console if console.is_terminal else Console(highlight=False, width=WIDE))


def _play(options: Options) -> Outcome:
    """Play the round on a thread of its own; raises KeyboardInterrupt once all is gone, if told to stop."""
    stop = threading.Event()
    ended: SimpleQueue[int] = SimpleQueue()
    result: Future[Outcome] = Future()
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
