"""A budget: what somebody may do in a second, how much at once, and the stages for those who do more.

This module owns the arithmetic, a token bucket whose tokens may be owed; the caller gives the time, in monotonic
seconds. It must cost next to nothing within the budget, and never forget what is owed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from parlour.runtime.locks import make_lock

__all__ = ["BURST", "DEFIED", "HEED", "OWED", "Budget", "Stage", "Verdict"]

BURST = 10.0
"""Seconds' worth that may be spent at once."""

OWED = 10.0
"""Seconds' worth that may be owed; who owes more is refused until nothing is owed."""

HEED = 2.0
"""Seconds in which a client may still send without harm after the first refusal: it was on the way."""

DEFIED = 10.0
"""Seconds' worth that may be refused after that; who sends more does not heed the refusals, and is cut off."""


class Stage(IntEnum):
    """The stages of a client, from within its budget to far above."""

    FREE = 0
    SLOWED = 1
    REFUSED = 2
    CUT = 3


class Verdict(NamedTuple):
    """The outcome of spending.

    Attributes:
        stage: whether it is spent (free and slowed) or not (refused and cut).
        wait: seconds until nothing is owed any more.
    """

    stage: Stage
    wait: float


_FREE = Verdict(Stage.FREE, 0.0)


class Budget:
    """A budget of `rate` a second, and ten seconds' worth at once.

    Attributes:
        rate: what may be spent in a second; more than 0.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        # Guards all fields below. Rank 17.
        self._mutex = make_lock(17, "budget")
        self._left = rate * BURST  # negative if something is owed
        self._at = now
        self._refused_since: float | None = None
        self._defied = 0.0  # what was refused although the client knew of the refusals

    def spend(self, price: float, now: float) -> Verdict:
        """Spend the price if not too much is owed."""
        with self._mutex:
            left = self._refill(now)
            if self._refused_since is None:
                if left >= -self.rate * OWED:
                    self._left = left = left - price
                    return _FREE if left >= 0 else Verdict(Stage.SLOWED, -left / self.rate)
                self._refused_since, self._defied = now, 0.0
            elif now > self._refused_since + HEED:
                self._defied += price
            stage = Stage.REFUSED if self._defied <= self.rate * DEFIED else Stage.CUT
            return Verdict(stage, -left / self.rate)

    def is_full(self, now: float) -> bool:
        """Whether a new budget would be the same."""
        with self._mutex:
            return self._refill(now) >= self.rate * BURST

    def _refill(self, now: float) -> float:
        """Add what the time since the last call has brought; return what is left."""
        left = min(self.rate * BURST, self._left + max(0.0, now - self._at) * self.rate)
        self._left, self._at = left, now
        if left >= 0:
            self._refused_since = None
        return left
