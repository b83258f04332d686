"""A picture of the outcomes over time: some panels for each scenario, with a line for each policy.

This module owns the drawing; it runs on the main thread. The figures must never need it: matplotlib is an extra, and is
imported only to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from parlour.simulate.outcome import Outcome
from parlour.simulate.scenario import SCENARIOS
from parlour.wire.errors import ParlourError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check", "draw"]

_COLUMNS = {
    "imbalance": "highest load above the mean",
    "overload": "clients over a node's capacity",
    "refused": "requests refused so far",
    "moves": "clients moved so far",
}
"""The fields of a sample that are drawn, with their labels; other than the imbalance, only if ever above zero."""

_STYLES = {
    "parlour": ("#0b5fa5", "-", 2.2),
    "parlour-auto": ("#2aa198", "--", 2.0),
    "round-robin": ("#7f7f7f", "-", 1.3),
    "least-loaded": ("#d62728", "-", 1.3),
    "two-choices": ("#e69f00", "-", 1.3),
}
"""Colour, dash style and width of each policy's line."""

_ACROSS = 2
"""Panels side by side at most; more would be too small to read."""

_LEAST = 0.001
"""The least imbalance above 1 that is drawn, because the scale is logarithmic: one client in a thousand."""


def check() -> None:
    """Raise ParlourError if matplotlib is missing; called before the work, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ParlourError("a plot needs matplotlib: `pip install matplotlib` beside parlour") from None


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture as PNG; raises ParlourError if the file cannot be written."""
    from matplotlib.figure import Figure

    rows = [list(group) for _, group in groupby(outcomes, key=lambda outcome: outcome.scenario)]
    columns = [
        column for column in _COLUMNS if column == "imbalance" or any(getattr(outcome, column) for outcome in outcomes)
    ]
    across = min(_ACROSS, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(0.5 + 4.4 * across, 0.5 + 2.5 * down * len(rows)), layout="constrained")
    grid = figure.subplots(down * len(rows), across, squeeze=False)
    for number, row in enumerate(rows):
        places = list(grid[number * down : (number + 1) * down].flat)
        for place, column in zip(places, columns, strict=False):
            _panel(place, row, column)
        for place in places[len(columns) :]:
            place.set_axis_off()
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    try:
        figure.savefig(path, format="png", dpi=76, pil_kwargs={"optimize": True})
    except OSError as error:
        raise ParlourError(f"cannot write {path} ({error.strerror}): choose another --plot") from None


def _panel(axes: Axes, outcomes: Sequence[Outcome], column: str) -> None:
    """Draw one column of one scenario."""
    for outcome in outcomes:
        colour, dashes, width = _STYLES[outcome.policy]
        times = [sample.at for sample in outcome.samples]
        figures = [getattr(sample, column) for sample in outcome.samples]
        if column == "imbalance":
            figures = [max(_LEAST, figure - 1) for figure in figures]
        axes.plot(times, figures, dashes, color=colour, linewidth=width, label=outcome.policy)
    if column == "imbalance":
        axes.set_title(f"{outcomes[0].scenario}: {SCENARIOS[outcomes[0].scenario].text}", fontsize=9, loc="left")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda part, _: f"{part * 100:g} %")
    else:
        # Zero and small values are at the bottom.
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
    axes.set_ylabel(_COLUMNS[column], fontsize=8)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.margins(x=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
