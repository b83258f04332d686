"""One live node, as the balancer keeps it, as it was seen at one time, and a client on its way there.

This module owns the node's record and the figures that follow from it. It is pure and belongs to the one thread that
runs the balancer. It must never outlive an instance: a node that starts again gets a new record.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from parlour.wire.control import Report

__all__ = ["FleetNode", "NodeSnapshot", "PendingTicket"]


class NodeSnapshot(Struct, frozen=True, order=True, gc=False):
    """A node as it was when it was put in its place; those that can take a client are chosen in this order."""

    load: float  # clients there, on their way and credited, by weight
    turn: int  # the number of the choice that fell on it last
    node: str
    clients: int
    pending: int
    capacity: int
    heard: float
    state: str  # "ok" if it can take a client; else "full" or "draining"


class FleetNode:
    """A live node: its last report, and what the balancer knows beyond it."""

    __slots__ = (
        *("admits", "clients", "counted", "credit", "drain_by", "due", "heard", "joined", "leaving"),
        *("missed", "name", "pending", "report", "snapshot", "taken", "turn", "weight"),
    )

    def __init__(self, report: Report, now: float) -> None:
        self.name = report.node
        self.joined = now
        self.pending = 0  # tickets given out, neither redeemed nor expired
        self.leaving = 0  # of its clients, those who hold such a ticket for another node
        self.credit = 0.0  # phantom clients of the slow start
        self.turn = 0  # the number of the decision that chose it last
        self.due = float("inf")  # when the balancer looks next whether it has fallen silent
        # Clients, weight and admitted clients per second that it adds to the fleet's sums.
        self.counted: tuple[int, int, float] = (0, 0, 0.0)
        self.drain_by: float | None = None  # the deadline of an order to drain that its reports do not follow yet
        self.missed: set[str] = set()  # clients, a few, that could not reach it since its last report
        self.taken: deque[float] = deque()  # when it was chosen within the last second
        self.hear(report, now)
        self.take_snapshot()

    def hear(self, report: Report, now: float) -> None:
        """Take its report of now."""
        self.report = report
        self.heard = now
        # Kept, as they are asked for many times for each assignment.
        self.clients = max(0, report.clients)
        self.weight = max(1, report.capacity)  # the divisor of its load
        # New clients per second that it can take; in this order a NaN becomes the least.
        self.admits = min(1e6, max(1.0, report.admits))

    def take_snapshot(self) -> NodeSnapshot:
        """Return it as it is now, which is what it was seen as until the next look."""
        held, capacity = self.held, self.report.capacity
        state = "draining" if self.draining else "full" if held >= capacity else "ok"
        self.snapshot = NodeSnapshot(
            (held + self.credit) / self.weight,
            self.turn,
            self.name,
            self.clients,
            self.pending,
            capacity,
            self.heard,
            state,
        )
        return self.snapshot

    @property
    def held(self) -> int:
        """Clients there and on their way: one whose ticket was redeemed is among the first, and only there."""
        return self.clients + self.pending

    @property
    def draining(self) -> bool:
        """Whether it takes no new clients, by its own word or because it was told so."""
        return self.report.draining or self.drain_by is not None

    def admitted(self, now: float) -> int:
        """Return how many clients were sent to it within the last second."""
        while self.taken and self.taken[0] <= now - 1.0:
            self.taken.popleft()
        return len(self.taken)

    def busy(self, now: float, margin: float) -> bool:
        """Whether one more within this second were over what it admits, times the margin."""
        return self.admitted(now) + 1 > max(1.0, self.admits * margin)

    def slow_start(self, mean: float, age: float) -> None:
        """Set its credit by the mean load of the others and its age, 1 being the end of the slow start.

        An empty node that joins a fleet of busy ones has by far the lowest load, and would be sent every client that
        comes until it has caught up: all of a storm of arrivals to the node that is coldest. The credit lifts it to
        the mean load of the others, where it gets its share and no more; it melts away with its age, so that the
        node catches up little by little. A node at or above the mean gets none, so nothing changes in a fleet that
        carries nothing, and nodes that start together never drift apart: of two nodes whose clients differ by one,
        the credit is less than one client, too little to make the difference two.
        """
        behind = mean - self.held / self.weight
        self.credit = max(0.0, behind) * max(0.0, 1 - age) * self.weight


class PendingTicket(Struct, frozen=True, gc=False):
    """A client on its way, until it arrives or its ticket expires."""

    expires: float
    node: FleetNode
    source: FleetNode | None
    """The node that sent it on and counts it until it has arrived, if one did."""

    def begin(self) -> None:
        """Count it."""
        self.node.pending += 1
        if self.source is not None:
            self.source.leaving += 1

    def end(self) -> None:
        """Count it no more."""
        self.node.pending -= 1
        if self.source is not None:
            self.source.leaving -= 1
