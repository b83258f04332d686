"""The time to wait before the next attempt at something that failed.

This module owns the rule: exponential backoff with full jitter (M. Brooker, "Exponential Backoff and Jitter", 2015).
It is pure. Clients that failed at the same moment must never come back at the same moment, except for the first
attempt, which is made at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["BRIEF", "LONGEST", "Backoff"]

SHORTEST = 0.1
"""Longest wait before the second attempt, in seconds."""

LONGEST = 10.0
"""Longest wait before any attempt, in seconds."""

BRIEF = 1.0
"""Longest wait where brokers answer, in seconds: they limit the rate of clients, and name nodes that did not fail."""


class Backoff:
    """The waits between the attempts of one client; `uniform(a, b)` draws a random number from a to b."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._attempts = 0

    def next(self, longest: float = LONGEST) -> float:
        """Return the seconds until the next attempt: 0 for the first; the upper bound then doubles each time."""
        self._attempts += 1
        if self._attempts == 1:
            return 0.0
        # The exponent has a bound, as a client may try for weeks.
        return self._uniform(0.0, min(longest, SHORTEST * 2 ** min(self._attempts - 2, 20)))

    def told(self, seconds: float) -> float:
        """Return the seconds until the next attempt if the peer named them: at random up to 1.3 times as many."""
        # Clients that were refused at the same moment should not come back at the same moment.
        return max(SHORTEST, seconds) * self._uniform(1.0, 1.3)
