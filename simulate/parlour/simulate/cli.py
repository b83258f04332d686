"""The command `parlour simulate`.

This module owns the command's options and help text; it runs on the main thread, which does all the work. It must
never load matplotlib without `--plot`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from parlour.runtime.options import Number, json_option
from parlour.runtime.output import print_json
from parlour.simulate import plot as picture
from parlour.simulate.comparison import POLICIES, run
from parlour.simulate.outcome import Outcome
from parlour.simulate.report import summary, table
from parlour.simulate.scenario import SCENARIOS

__all__ = ["simulate"]

WIDE = 140
"""Columns if the output is not a terminal, so that no line is folded."""


@click.command(
    epilog="\b\nScenarios:\n"
    + "\n".join(f"  {scenario.name:12} {scenario.text}" for scenario in SCENARIOS.values())
    + """

\b
Examples:
  parlour simulate flash
  parlour simulate steady failures --policy parlour --policy parlour-auto --plot balance.png
  parlour simulate flash --nodes 1000 --clients 1000000 --policy parlour
  parlour simulate --json | jq .imbalance"""
)
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)), metavar="[SCENARIO]...")
@click.option("--nodes", type=click.IntRange(2, 10_000), default=100, show_default=True, help="Number of nodes.")
@click.option(
    "--clients",
    type=click.IntRange(10, 10_000_000),
    default=200_000,
    show_default=True,
    help="Number of clients when all have come.",
)
@click.option(
    "--policy",
    "policies",
    type=click.Choice(list(POLICIES)),
    multiple=True,
    default=list(POLICIES),
    help="Policy that chooses nodes; may be repeated.  [default: all]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Random seed; all policies get the same events.")
@click.option(
    "--report-delay",
    "delay",
    type=Number(0),
    metavar="SECONDS",
    help="Delay of each report.  [default: the scenario's, mostly 1]",
)
@click.option(
    "--loss",
    type=Number(0, 1),
    metavar="PART",
    help="Part of the reports that is lost, 0 to 1.  [default: the scenario's, mostly 0]",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Also draw the outcomes to this file.",
)
@json_option
def simulate(
    scenarios: tuple[str, ...],
    nodes: int,
    clients: int,
    policies: tuple[str, ...],
    seed: int,
    delay: float | None,
    loss: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare how evenly policies spread clients over nodes, in fleets of any size. It starts no broker and no node.

    The policy `parlour` is the broker's own code, and `parlour-auto` is `broker --auto`. Imbalance is the highest load
    ÷ the mean load, by capacity: its mean, 99th percentile and maximum. Overload is the most clients that a node had
    above its capacity. Rush is the most clients that came to one node within a second, relative to the number that it
    admits. Waited is the longest time that a client looked for a node. Without a SCENARIO all scenarios run.
    """
    if plot is not None:
        picture.check()
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("")
        for name in dict.fromkeys(scenarios or SCENARIOS):
            scenario = SCENARIOS[name]
            if delay is not None:
                scenario = replace(scenario, delay=(delay, delay))
            if loss is not None:
                scenario = replace(scenario, loss=loss)
            for policy in dict.fromkeys(policies):
                progress.update(task, description=f"{name}: {policy}")
                outcomes.append(run(scenario, policy, nodes, clients, seed))
    if as_json:
        for outcome in outcomes:
            print_json(summary(outcome))
    else:
        printer = Console(highlight=False)
        (printer if printer.is_terminal else Console(highlight=False, width=WIDE)).print(table(outcomes))
    if plot is not None:
        picture.draw(outcomes, plot)
