"""Markdown tables of a series, as the documentation shows them.

This module owns the labels and the rounding; it is pure. It must never leave out a contestant with bad figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.cell import Cell
from bench.generator import Outcome
from bench.scale import Finding
from bench.series import Series

__all__ = ["page", "scale_page", "table"]

SATURATED = 0.95
"""The part of a core above which the generator, and not the server, may have been the limit."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns except the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _millions(outcome: Outcome) -> str:
    mark = "*" if outcome.own > SATURATED * outcome.seconds else ""
    return f"{outcome.rate / 1e6:.2f}{mark}" if outcome.rate >= 1e5 else f"{outcome.rate / 1e6:.3f}{mark}"


def _cost(outcome: Outcome) -> str:
    share = outcome.server_user / max(1e-9, outcome.server_user + outcome.server_system)
    return f"{outcome.cost:.2f} ({outcome.cost * share:.2f})"


def _latency(outcome: Outcome) -> str:
    return " / ".join(f"{value / 1000:.1f}" for value in (outcome.p50, outcome.p99, outcome.max))


def _across(series: Series, cells: list[Cell], figure: Callable[[Outcome], str]) -> str:
    def entry(cell: Cell, name: str) -> str:
        outcome = series.get(cell, name)
        return "-" if outcome is None else figure(outcome)

    rows = ([cell.label, *(entry(cell, name) for name in series.contestants)] for cell in cells)
    return table(["", *series.contestants], rows)


def _paced(series: Series, cell: Cell) -> str:
    rows: list[list[str]] = []
    for name in series.contestants:
        outcome = series.get(cell, name)
        if outcome is None:
            rows.append([name, *["-"] * 6])
        else:
            times = [f"{value / 1000:.2f}" for value in (outcome.p50, outcome.p99, outcome.max)]
            share = (outcome.server_user + outcome.server_system) / outcome.seconds
            rows.append([name, f"{outcome.rate:,.0f}", *times, _cost(outcome), f"{share:.0%}"])
    head = ["", "deliveries/s", "p50 ms", "p99 ms", "max ms", "CPU s per million (user)", "of a core"]
    return f"{cell.label}:\n\n" + table(head, rows)


def scale_page(found: Iterable[Finding]) -> str:
    """Return the findings of `scale` as a table."""
    return table(["", "measured", "aim"], found)


def page(series: Series) -> str:
    """Return a page with all of a series: the figures, the machine, and the failures."""
    closed = [cell for cell in series.cells if not cell.paced]
    rooms = [cell for cell in closed if cell.rooms > 1]
    record = series.record()
    runs = max((len(outcomes) for outcomes in series.outcomes.values()), default=0)
    parts = [
        "### Million deliveries a second\n",
        _across(series, closed, _millions),
        "### Server's CPU seconds per million deliveries (of them outside the kernel)\n",
        _across(series, closed, _cost),
        "### Latency p50 / p99 / max, ms\n",
        _across(series, closed, _latency),
    ]
    if rooms:
        parts += [
            "### Fairness: the slowest room's deliveries ÷ a room's on average\n",
            _across(series, rooms, lambda outcome: f"{outcome.slowest_room:.2f}"),
        ]
    parts += ["### Paced\n", *(_paced(series, cell) for cell in series.cells if cell.paced)]
    wrong = [f"- {name}, {cell.label}: {why}\n" for (cell, name), why in series.failures.items()]
    if wrong:
        parts += ["### Not measured\n", "".join(wrong)]
    facts = [[name, text] for name, text in {**record["machine"], **record["versions"]}.items()]
    parts += ["### Machine and versions\n", table(["", ""], facts).replace("---:", "---")]
    note = f"Medians of {runs} runs. S: senders. W: posts of each on the way. *: the generator used its whole core."
    return "\n".join([f"{note}\n", *parts])
