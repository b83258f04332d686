"""The waits between attempts: zero at first, then random up to a bound that doubles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.backoff import BRIEF, LONGEST, SHORTEST, Backoff


@given(st.integers(1, 2000), st.floats(0.0, 1.0))
def test_every_wait_is_within_its_bound(attempts: int, luck: float) -> None:
    """The first attempt is made at once; the bounds of the others are 0.1, 0.2, 0.4 … 10 seconds."""
    backoff = Backoff(lambda low, high: low + luck * (high - low))
    waits = [backoff.next() for _ in range(attempts)]
    assert waits[0] == 0.0
    for number, wait in enumerate(waits[1:]):
        assert wait == luck * min(LONGEST, SHORTEST * 2 ** min(number, 1000))


def test_the_jitter_is_full() -> None:
    """A wait is anything from zero to the bound, so clients that failed together do not come back together."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    backoff = Backoff(draw)
    for _ in range(9):
        backoff.next()
    assert drawn == [(0.0, high) for high in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)]


def test_a_lower_bound_can_be_given() -> None:
    """No wait is longer than that bound, after any number of failures."""
    backoff = Backoff(lambda low, high: high)
    assert [backoff.next(BRIEF) for _ in range(7)] == [0.0, 0.1, 0.2, 0.4, 0.8, BRIEF, BRIEF]


@given(st.floats(0.0, 100.0))
def test_a_named_time_is_kept(seconds: float) -> None:
    """The wait is 1 to 1.3 times the time that the peer named, after any number of failures."""
    for luck, factor in ((0.0, 1.0), (1.0, 1.3)):
        backoff = Backoff(lambda low, high, luck=luck: low + luck * (high - low))  # type: ignore[misc]
        for _ in range(9):
            backoff.next()
        assert backoff.told(seconds) == max(SHORTEST, seconds) * factor
