"""One live node, as the balancer keeps it.

This module owns the node's record and the figures that follow from it. It is pure and belongs to the one thread that
runs the balancer. It must never outlive an instance: a node that starts again gets a new record.
"""

from __future__ import annotations

from parlour.broker.rotation import Key
from parlour.wire.control import Report

__all__ = ["Node"]


class Node:
    """A live node: its last report, and what the balancer knows beyond it."""

    __slots__ = ("counted", "credit", "due", "heard", "joined", "key", "name", "pending", "report", "turn")

    def __init__(self, report: Report, now: float) -> None:
        self.name = report.node
        self.report = report
        self.joined = now
        self.heard = now
        self.pending = 0  # tickets given out, neither redeemed nor expired
        self.credit = 0.0  # phantom clients of the slow start
        self.turn = 0  # the number of the decision that chose it last
        self.due = float("inf")  # when the balancer looks next whether it has fallen silent
        self.key: Key | None = None  # its place in the rotation, if it is there
        self.counted: tuple[int, int] = (0, 0)  # clients and weight that it adds to the fleet's sums

    @property
    def clients(self) -> int:
        """Clients there, as its last report counts them."""
        return max(0, self.report.clients)

    @property
    def weight(self) -> int:
        """Its capacity, as the divisor of its load."""
        return max(1, self.report.capacity)

    @property
    def held(self) -> int:
        """Clients there and on their way: one whose ticket was redeemed is among the first, and only there."""
        return self.clients + self.pending

    @property
    def full(self) -> bool:
        """Whether it has no place for one more client."""
        return self.held >= self.report.capacity

    @property
    def load(self) -> float:
        """What it is compared by: clients there, on their way and credited, by weight."""
        return (self.held + self.credit) / self.weight
