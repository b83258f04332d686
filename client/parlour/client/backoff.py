"""How long to wait before the next attempt at something that failed.

This module owns the rule, exponential backoff with full jitter (M. Brooker, "Exponential Backoff and Jitter", 2015);
it is pure. It must never let two clients that failed at the same moment come back at the same moment, the first
attempt apart, which is made at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]

SHORTEST = 0.1
"""Seconds that the second attempt waits at most."""

LONGEST = 10.0
"""Seconds that any attempt waits at most."""


class Backoff:
    """The waits between the attempts of one client; `uniform(a, b)` draws a number from a to b."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._attempts = 0

    def next(self) -> float:
        """Return the seconds until the next attempt: none for the first, then up to twice as many each time."""
        self._attempts += 1
        if self._attempts == 1:
            return 0.0
        # The exponent is kept small, as a client may try for weeks.
        return self._uniform(0.0, min(LONGEST, SHORTEST * 2 ** min(self._attempts - 2, 20)))
