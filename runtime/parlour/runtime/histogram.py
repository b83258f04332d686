"""A histogram of durations: a plain list of counts, one for each bucket, which only grow.

This module is pure and has no lock: the caller holds the lock of the counters around it. To add a duration must never
cost more than a search in a short tuple.
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["Histogram"]

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds; one more bucket counts longer durations."""


class Histogram:
    """Counts by bucket, and the sum of all durations in seconds."""

    __slots__ = ("_counts", "_total", "bounds")

    def __init__(self) -> None:
        self.bounds = BOUNDS
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds

    def snapshot(self) -> tuple[list[int], float]:
        """Return the counts, bucket by bucket, and the sum."""
        return self._counts.copy(), self._total
