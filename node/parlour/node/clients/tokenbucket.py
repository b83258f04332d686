"""A rate that is held over time, with bursts of one second's worth.

This module is pure but for the clock; a lock of its user guards its instances.
"""

from __future__ import annotations

import time

__all__ = ["TokenBucket"]


class TokenBucket:
    """Allows `rate` things a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._filled_at = time.monotonic()

    def take(self) -> bool:
        """Return whether one more is allowed now, and count it."""
        now = time.monotonic()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
