"""The arithmetic of budgets: what is within them, what is owed, and the stages above."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.clients.budget import BURST, DEFIED, HEED, OWED, Budget, Stage
from parlour.node.clients.limiter import KEPT, Limiter

RATE = 10.0

steps = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 500)), max_size=60)
"""Seconds that pass, and the price of what comes then."""


@given(steps)
def test_no_more_than_the_rate(course: list[tuple[float, float]]) -> None:
    """What is spent in any time is at most the burst, what may be owed, one price, and the rate times that time."""
    budget, now, spent = Budget(RATE, 0.0), 0.0, 0.0
    for passed, price in course:
        now += passed
        if budget.spend(price, now).stage in (Stage.FREE, Stage.SLOWED):
            assert spent <= RATE * (BURST + OWED + now) + 1e-6
            spent += price


@given(steps)
def test_stage_follows_from_debt(course: list[tuple[float, float]]) -> None:
    """A client is free exactly if it owes nothing; after the seconds that it was told it is not refused."""
    budget, now = Budget(RATE, 0.0), 0.0
    for passed, price in course:
        now += passed
        stage, wait = budget.spend(price, now)
        assert (stage is Stage.FREE) == (wait == 0)
        if stage in (Stage.REFUSED, Stage.CUT):
            now += wait + 1e-6
            assert budget.spend(0, now).stage in (Stage.FREE, Stage.SLOWED)


@given(st.floats(0.01, 1.0), st.integers(1, 500))
def test_within_the_rate_is_free(step: float, count: int) -> None:
    """A client that never does more than its rate never notices, in whatever pieces it does it."""
    budget = Budget(RATE, 0.0)
    for number in range(count):
        assert budget.spend(RATE * step * 0.999, number * step).stage is Stage.FREE


@given(st.floats(0.1, RATE))
def test_one_after_the_other_is_never_refused(price: float) -> None:
    """A client that waits for each answer, to what costs no more than a second, is slowed and never refused."""
    budget, now = Budget(RATE, 0.0), 0.0
    for _ in range(300):
        stage, wait = budget.spend(price, now)
        assert stage in (Stage.FREE, Stage.SLOWED)
        now += min(wait, 1.0)


def test_stages_in_order() -> None:
    """A client that goes on is free, slowed, refused and cut off, in this order; later it is free again."""
    budget, stages = Budget(RATE, 0.0), list[Stage]()
    for tick in range(100):
        stages.append(budget.spend(10 * RATE, 0.1 * tick).stage)
    assert list(dict.fromkeys(stages)) == [Stage.FREE, Stage.SLOWED, Stage.REFUSED, Stage.CUT]
    assert budget.spend(1, 100.0).stage is Stage.FREE


def test_what_is_on_the_way_does_no_harm() -> None:
    """What comes shortly after a refusal may have been sent before it, however much it is."""
    budget = Budget(RATE, 0.0)
    budget.spend(RATE * (BURST + OWED) + 1, 0.0)
    assert budget.spend(1, 0.0).stage is Stage.REFUSED
    assert budget.spend(1e6, HEED).stage is Stage.REFUSED
    assert budget.spend(RATE * DEFIED, HEED + 0.1).stage is Stage.REFUSED
    assert budget.spend(1, HEED + 0.2).stage is Stage.CUT


def test_limiter_keeps_what_is_owed() -> None:
    """A holder that comes back finds its budget as it left it; one that is full is dropped."""
    now = 0.0
    limiter = Limiter(RATE, lambda: now)
    budget = limiter.hold("guest/a", RATE)
    assert limiter.hold("guest/a", RATE) is budget
    budget.spend(5 * RATE * KEPT, now)
    limiter.release("guest/a")
    limiter.release("guest/a")
    now += 2 * KEPT
    assert limiter.hold("guest/a", 2 * RATE) is budget
    assert budget.rate == 2 * RATE
    limiter.release("guest/a")
    now += 10 * KEPT
    assert limiter.hold("guest/b", RATE) is not budget
    assert limiter.hold("guest/a", RATE) is not budget
