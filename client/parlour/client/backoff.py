"""How long to wait before the next attempt at something that failed.

This module owns the rule, exponential backoff with full jitter (M. Brooker, "Exponential Backoff and Jitter", 2015);
it is pure. It must never let two clients that failed at the same moment come back at the same moment, the first
attempt apart, which is made at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["BRIEF", "LONGEST", "Backoff"]

SHORTEST = 0.1
"""Seconds that the second attempt waits at most."""

LONGEST = 10.0
"""Seconds that any attempt waits at most."""

BRIEF = 1.0
"""Seconds that it waits at most where brokers answer: they pace all who come, and name another than what failed."""


class Backoff:
    """The waits between the attempts of one client; `uniform(a, b)` draws a number from a to b."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._attempts = 0

    def next(self, longest: float = LONGEST) -> float:
        """Return the seconds until the next attempt: none for the first, then up to twice as many each time."""
        self._attempts += 1
        if self._attempts == 1:
            return 0.0
        # The exponent is kept small, as a client may try for weeks.
        return self._uniform(0.0, min(longest, SHORTEST * 2 ** min(self._attempts - 2, 20)))

    def told(self, seconds: float) -> float:
        """Return the seconds until the next attempt where one was told how many: at random up to 1.3 times that."""
        # All who were refused were so at the same moment: they should not come back at the same moment.
        return max(SHORTEST, seconds) * self._uniform(1.0, 1.3)
