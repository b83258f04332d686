"""The times at which the balancer checks whether a node has fallen silent.

This module owns these deadlines. It is pure and belongs to the one thread that runs its balancer. A report must cost
it nothing: when a deadline comes that a report has put off since, the caller sets it anew.
"""

from __future__ import annotations

import heapq

from parlour.broker.nodes import FleetNode

__all__ = ["LivenessDeadlines"]


class LivenessDeadlines:
    """Nodes by the time of their next check. Of several entries of a node, the one that equals its `due` is valid."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, FleetNode]] = []
        self._count = 0

    def set(self, node: FleetNode, due: float) -> None:
        """Check the node at `due`, and no longer at the time set before."""
        self._count += 1
        node.due = due
        heapq.heappush(self._entries, (due, self._count, node))

    def next(self) -> float | None:
        """Return the next time at which a check may be due, or None if there is no node."""
        return self._entries[0][0] if self._entries else None

    def pop(self, now: float) -> FleetNode | None:
        """Remove and return a node whose check is due, or return None if there is none."""
        while self._entries and self._entries[0][0] <= now:
            due, _, node = heapq.heappop(self._entries)
            if due == node.due:
                return node
        return None
