"""The outcomes as a table for people and as objects for programs.

This module owns the labels and the rounding; it runs on the main thread. It must never leave out a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from parlour.simulate.outcome import Outcome

__all__ = ["summary", "table"]


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return a table with a line for each outcome."""
    made = Table(box=None, padding=(0, 1, 0, 0))
    columns = ("scenario", "policy", "imbalance", "p99", "max", "overload", "rush", "refused", "moves", "waited (s)")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number > 1 else "left", no_wrap=True)
    last = outcomes[0].scenario if outcomes else ""
    for outcome in outcomes:
        if outcome.scenario != last:
            made.add_row()
        last = outcome.scenario
        made.add_row(
            outcome.scenario,
            outcome.policy,
            *(f"{figure:.3f}" for figure in (outcome.mean, outcome.p99, outcome.worst)),
            str(outcome.overload),
            f"{outcome.rush:.1f}",
            str(outcome.refused),
            str(outcome.moves),
            f"{outcome.waited:.1f}",
        )
    return made


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return the figures of an outcome; times are in seconds."""
    return {
        "scenario": outcome.scenario,
        "policy": outcome.policy,
        "nodes": outcome.nodes,
        "clients": outcome.clients,
        "seed": outcome.seed,
        "imbalance": {
            "mean": round(outcome.mean, 4),
            "p99": round(outcome.p99, 4),
            "max": round(outcome.worst, 4),
        },
        "overload": outcome.overload,
        "rush": round(outcome.rush, 3),
        "refused": outcome.refused,
        "moves": outcome.moves,
        "waited": round(outcome.waited, 3),
        "came": outcome.came,
        "assigned": outcome.assigned,
        "departed": outcome.departed,
        "here": outcome.here,
        "away": outcome.away,
    }
