"""When to look whether a node has fallen silent.

This module owns the deadlines of the nodes. It is pure and belongs to the one thread that runs its balancer. It must
never cost anything at a report: a deadline that was put off is found out when it comes.
"""

from __future__ import annotations

import heapq

from parlour.broker.nodes import FleetNode

__all__ = ["LivenessDeadlines"]


class LivenessDeadlines:
    """Nodes by the time at which to look at them; of the entries of one node, that of its `due` is valid."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, FleetNode]] = []
        self._count = 0

    def set(self, node: FleetNode, due: float) -> None:
        """Look at the node at this time, and not at the one set before."""
        self._count += 1
        node.due = due
        heapq.heappush(self._entries, (due, self._count, node))

    def next(self) -> float | None:
        """Return the next time at which there may be a node to look at, None if there is no node."""
        return self._entries[0][0] if self._entries else None

    def pop(self, now: float) -> FleetNode | None:
        """Take out a node whose time has come and return it; None if there is none."""
        while self._entries and self._entries[0][0] <= now:
            due, _, node = heapq.heappop(self._entries)
            if due == node.due:
                return node
        return None
