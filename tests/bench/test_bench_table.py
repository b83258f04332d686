"""The pages of a series: medians, and no run that lost a delivery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.cell import Cell
from bench.cluster import Parlour
from bench.generator import LoadError, Outcome
from bench.peers import Floor
from bench.scale import Finding
from bench.series import Series, median
from bench.table import page, scale_page, table

CELL, PACED = Cell(10, 10, 16), Cell(10, 10, rate=500)

OUTCOME = Outcome(
    seconds=2.0,
    posts=200_000,
    deliveries=2_000_000,
    server_user=0.5,
    server_system=1.5,
    own=1.0,
    p50=100,
    p99=2500,
    max=9000,
    slowest_room=1.0,
    drained=True,
    drained_in=0.0,
    missing=0,
    disordered=0,
)


def series(**outcomes: list[Outcome]) -> Series:
    """Return a series that has measured both cells."""
    made = Series({"parlour": Parlour, "floor": Floor})
    made.cells = [CELL, PACED]
    for name, measured in outcomes.items():
        made.outcomes[CELL, name] = made.outcomes[PACED, name] = measured
    return made


def test_rate_and_cost() -> None:
    """Rate and cost follow from the counts."""
    assert OUTCOME.rate == 1_000_000
    assert OUTCOME.cost == 1.0


def test_each_figure_has_its_own_median() -> None:
    """The median of each figure may come from another run."""
    runs = [replace(OUTCOME, deliveries=n, p99=p) for n, p in ((1, 30), (2, 10), (3, 20))]
    assert (median(runs).deliveries, median(runs).p99) == (2, 20)


def test_the_cost_has_its_own_median() -> None:
    """User and system time are split by sampling: three runs with equal costs must not seem cheaper."""
    runs = [replace(OUTCOME, server_user=user, server_system=2.0 - user) for user in (0.25, 0.5, 1.75)]
    middle = median([*runs, replace(OUTCOME, server_user=0.25, server_system=1.0)])
    assert (middle.cost, middle.server_user) == (1.0, 0.375)
    assert median([replace(OUTCOME, server_user=2.0, server_system=0.0)]).server_system == 0.0


@pytest.mark.parametrize(
    "wrong", [{"missing": 1}, {"disordered": 1}, {"missing": -1}, {"drained": False}, {"deliveries": 0}], ids=str
)
def test_a_lost_delivery_is_an_error(wrong: dict[str, int]) -> None:
    """A run that lost, doubled or mixed deliveries, never ended or delivered nothing does not count."""
    OUTCOME.check()
    with pytest.raises(LoadError):
        replace(OUTCOME, **wrong).check()  # type: ignore[arg-type]


def test_a_table_is_markdown() -> None:
    """The first column is words, the others are numbers."""
    assert table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |\n"
    assert "| it | 3 ms | 5 ms |" in scale_page([Finding("it", "3 ms", "5 ms")])


def test_the_page_has_every_figure() -> None:
    """Each cell has a row with rates, costs (also outside the kernel) and latencies."""
    text = page(series(parlour=[OUTCOME], floor=[replace(OUTCOME, deliveries=150_000)]))
    assert "| 10 members, S = 10, W = 16 | 1.00 | 0.075 |" in text
    assert "| 10 members, S = 10, W = 16 | 1.00 (0.25) |" in text
    assert "| 10 members, S = 10, W = 16 | 0.1 / 2.5 / 9.0 |" in text
    assert "| parlour | 1,000,000 | 0.10 | 2.50 | 9.00 | 1.00 (0.25) | 100% |" in text


def test_a_generator_at_its_limit_is_marked() -> None:
    """A figure that the generator may have limited is marked."""
    text = page(series(parlour=[OUTCOME], floor=[replace(OUTCOME, own=1.99)]))
    assert "| 10 members, S = 10, W = 16 | 1.00 | 1.00* |" in text


def test_failures_are_named() -> None:
    """A contestant that failed in a cell has no figure there, even if it had one before; the page gives the reason."""
    made = series(parlour=[OUTCOME], floor=[OUTCOME])
    made.failures[CELL, "floor"] = "7 deliveries missing"
    text = page(made)
    assert "| 10 members, S = 10, W = 16 | 1.00 | - |" in text
    assert "- floor, 10 members, S = 10, W = 16: 7 deliveries missing" in text
