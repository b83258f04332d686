"""A series: it measures every cell with every contestant several times, so that other work disturbs all alike.

This module owns the order of the runs and their record; it runs on the bench's own thread. It must never count a run
that lost a delivery.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.generator import LoadError, Outcome, run
from bench.machine import describe
from bench.server import Server, StartError

__all__ = ["Series", "median", "show_progress"]

QUICK = 2e6
"""Deliveries a second of a fast server: a run lasts for two rounds at this speed, or it would see a part of one."""

PACED = 3
"""How much longer paced cells are measured: they have so few posts that otherwise four of them decided the p99."""


def show_progress(text: str) -> None:
    """Tell the waiting person what the bench does."""
    print(text, file=sys.stderr, flush=True)


def median(outcomes: list[Outcome]) -> Outcome:
    """Return an outcome of medians: of each figure, and of the cost."""
    figures: dict[str, Any] = {
        field.name: statistics.median(getattr(one, field.name) for one in outcomes) for field in fields(Outcome)
    }
    middle = replace(outcomes[0], **figures)
    # The system counts all processor time, but samples whether it is user or system time. So their sum is reliable, but
    # the sum of their medians is not.
    spent = statistics.median(one.cost for one in outcomes) * middle.deliveries / 1e6
    user = min(middle.server_user, spent)
    return replace(middle, server_user=user, server_system=spent - user)


class Series:
    """The outcomes by cell and contestant, and for each failure its reason."""

    def __init__(self, contestants: Mapping[str, type[Server]]) -> None:
        self.contestants = contestants
        self.outcomes: dict[tuple[Cell, str], list[Outcome]] = {}
        self.failures: dict[tuple[Cell, str], str] = {}
        self.cells: list[Cell] = []

    def measure(self, cells: Iterable[Cell], runs: int, warm: float, seconds: float) -> None:
        """Measure all cells `runs` times, each time with each contestant in turn."""
        self.cells = list(cells)
        for number in range(1, runs + 1):
            for cell in self.cells:
                for name, server in self.contestants.items():
                    self._once(f"{number}/{runs}", cell, name, server, warm, seconds)

    def _once(self, turn: str, cell: Cell, name: str, kind: type[Server], warm: float, seconds: float) -> None:
        if (cell, name) in self.failures:
            return
        if cell.round_deliveries > kind.max_round:
            self.failures[cell, name] = "too heavy"
            return
        longest = cell.round_deliveries / QUICK
        if cell.rate:
            seconds *= PACED
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(Path(folder)) as server:
                outcome = run(server, cell, warm=max(warm, longest), measure=max(seconds, longest))
                outcome.check()
        except (LoadError, StartError) as error:
            show_progress(f"{turn} {cell.label}: {name}: {error}")
            self.failures[cell, name] = str(error)
            return
        self.outcomes.setdefault((cell, name), []).append(outcome)
        show_progress(
            f"{turn} {cell.label}: {name}: {outcome.rate:,.0f} deliveries/s, {outcome.cost:.2f} CPU s per million, "
            f"p50 {outcome.p50 / 1000:.2f} ms, p99 {outcome.p99 / 1000:.2f} ms"
        )

    def get(self, cell: Cell, name: str) -> Outcome | None:
        """Return the median outcome, or None."""
        outcomes = self.outcomes.get((cell, name), [])
        return median(outcomes) if outcomes and (cell, name) not in self.failures else None

    def record(self) -> dict[str, Any]:
        """Return everything, for a JSON file."""
        return {
            "machine": describe(),
            "versions": {name: kind.version() for name, kind in self.contestants.items()},
            "cells": [
                {
                    "cell": cell._asdict(),
                    "contestant": name,
                    "failure": self.failures.get((cell, name)),
                    "runs": [asdict(outcome) for outcome in self.outcomes.get((cell, name), [])],
                }
                for cell in self.cells
                for name in self.contestants
            ],
        }
