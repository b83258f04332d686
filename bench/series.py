"""A series: every cell with every contestant, again and again, so that what the machine does besides hits all alike.

This module owns the order of the runs and the record of them; it runs on the bench's own thread. It must never let a
run that lost a delivery count.
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

__all__ = ["Series", "median", "say"]

QUICK = 2e6
"""Deliveries a second of a quick server: a run lasts for at least two rounds of it, or it would see a part of one."""

PACED = 3
"""Times as long as others is measured what is paced: so little is said by the clock that its p99 was four posts'."""


def say(text: str) -> None:
    """Tell the person who waits what goes on."""
    print(text, file=sys.stderr, flush=True)


def median(outcomes: list[Outcome]) -> Outcome:
    """Return an outcome whose every figure is the median of that figure, and so is its cost."""
    figures: dict[str, Any] = {
        field.name: statistics.median(getattr(one, field.name) for one in outcomes) for field in fields(Outcome)
    }
    middle = replace(outcomes[0], **figures)
    # The system counts every moment, but tells user from system time only now and then: their sum can be relied upon,
    # the sum of their medians cannot.
    spent = statistics.median(one.cost for one in outcomes) * middle.deliveries / 1e6
    user = min(middle.server_user, spent)
    return replace(middle, server_user=user, server_system=spent - user)


class Series:
    """What was measured: outcomes by cell and contestant, and why there are none where there are none."""

    def __init__(self, contestants: Mapping[str, type[Server]]) -> None:
        self.contestants = contestants
        self.outcomes: dict[tuple[Cell, str], list[Outcome]] = {}
        self.failures: dict[tuple[Cell, str], str] = {}
        self.cells: list[Cell] = []

    def measure(self, cells: Iterable[Cell], runs: int, warm: float, seconds: float) -> None:
        """Measure all cells so many times, each time each contestant in turn."""
        self.cells = list(cells)
        for number in range(1, runs + 1):
            for cell in self.cells:
                for name, server in self.contestants.items():
                    self._once(f"{number}/{runs}", cell, name, server, warm, seconds)

    def _once(self, turn: str, cell: Cell, name: str, kind: type[Server], warm: float, seconds: float) -> None:
        if (cell, name) in self.failures:
            return
        if cell.round > kind.heaviest:
            self.failures[cell, name] = "too heavy"
            return
        longest = cell.round / QUICK
        if cell.rate:
            seconds *= PACED
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(Path(folder)) as server:
                outcome = run(server, cell, warm=max(warm, longest), measure=max(seconds, longest))
                outcome.check()
        except (LoadError, StartError) as error:
            say(f"{turn} {cell.label}: {name}: {error}")
            self.failures[cell, name] = str(error)
            return
        self.outcomes.setdefault((cell, name), []).append(outcome)
        say(
            f"{turn} {cell.label}: {name}: {outcome.rate:,.0f} deliveries/s, {outcome.cost:.2f} CPU s per million, "
            f"p50 {outcome.p50 / 1000:.2f} ms, p99 {outcome.p99 / 1000:.2f} ms"
        )

    def get(self, cell: Cell, name: str) -> Outcome | None:
        """Return the median of what was measured, or None."""
        outcomes = self.outcomes.get((cell, name), [])
        return median(outcomes) if outcomes and (cell, name) not in self.failures else None

    def record(self) -> dict[str, Any]:
        """Return everything, for a file of JSON."""
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
