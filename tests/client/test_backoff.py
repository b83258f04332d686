"""The waits between attempts: none at first, then at random up to a ceiling that doubles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.backoff import BRIEF, LONGEST, SHORTEST, Backoff


@given(st.integers(1, 2000), st.floats(0.0, 1.0))
def test_every_wait_is_within_its_ceiling(attempts: int, luck: float) -> None:
    """The first attempt is made at once; each later one waits its share of 0.1, 0.2, 0.4 … 10 seconds."""
    backoff = Backoff(lambda low, high: low + luck * (high - low))
    waits = [backoff.next() for _ in range(attempts)]
    assert waits[0] == 0.0
    for number, wait in enumerate(waits[1:]):
        assert wait == luck * min(LONGEST, SHORTEST * 2 ** min(number, 1000))


def test_the_jitter_is_full() -> None:
    """What is drawn is anything from nothing to the ceiling: those who failed together do not come back together."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    backoff = Backoff(draw)
    for _ in range(9):
        backoff.next()
    assert drawn == [(0.0, high) for high in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)]


def test_waits_are_brief_where_somebody_else_can_be_asked() -> None:
    """With a lower ceiling no wait is longer than that, however often it failed."""
    backoff = Backoff(lambda low, high: high)
    assert [backoff.next(BRIEF) for _ in range(7)] == [0.0, 0.1, 0.2, 0.4, 0.8, BRIEF, BRIEF]


@given(st.floats(0.0, 100.0))
def test_who_is_told_when_to_come_comes_then(seconds: float) -> None:
    """What one was told is waited for and at most 1.3 times that, however often it failed before."""
    for luck, factor in ((0.0, 1.0), (1.0, 1.3)):
        backoff = Backoff(lambda low, high, luck=luck: low + luck * (high - low))  # type: ignore[misc]
        for _ in range(9):
            backoff.next()
        assert backoff.told(seconds) == max(SHORTEST, seconds) * factor
