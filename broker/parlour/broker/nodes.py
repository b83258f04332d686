"""A node of the fleet as the balancer keeps it, its snapshot, and the ticket of a client on its way there.

This module owns the node's record and the figures that follow from it. It is pure and belongs to the one thread that
runs the balancer. A record must never outlive its instance: a node that starts again gets a new record.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from parlour.wire.control import Report

__all__ = ["FleetNode", "NodeSnapshot", "PendingTicket"]


class NodeSnapshot(Struct, frozen=True, order=True, gc=False):
    """A node as it was when it was last placed; the balancer chooses open nodes in the order of their snapshots."""

    load: float  # (clients + pending tickets + credit) ÷ weight
    turn: int  # the number of the last assignment that chose this node
    node: str
    clients: int
    pending: int
    capacity: int
    heard: float
    state: str  # "ok" if it can take a client; else "full" or "draining"


class FleetNode:
    """A node of the fleet: its last report, and what the balancer knows beyond the report."""

    __slots__ = (
        *("admits", "assigned_at", "clients", "contribution", "credit", "drain_by", "due", "heard", "joined"),
        *("leaving", "missed_by", "name", "pending", "report", "snapshot", "turn", "weight"),
    )

    def __init__(self, report: Report, now: float) -> None:
        self.name = report.node
        self.joined = now
        self.pending = 0  # tickets for this node that are neither redeemed nor expired
        self.leaving = 0  # of its clients, those that hold a pending ticket for another node
        self.credit = 0.0  # phantom clients of the slow start
        self.turn = 0  # the number of the last assignment that chose this node
        self.due = float("inf")  # when the balancer next checks whether the node has fallen silent
        # What it adds to the fleet's sums: clients, weight, and new clients per second that it admits.
        self.contribution: tuple[int, int, float] = (0, 0, 0.0)
        self.drain_by: float | None = None  # the deadline of a drain order that its reports do not confirm yet
        self.missed_by: set[str] = set()  # some of the clients that could not reach it since its last report
        self.assigned_at: deque[float] = deque()  # when it was chosen, within the last second
        self.hear(report, now)
        self.take_snapshot()

    def hear(self, report: Report, now: float) -> None:
        """Take the report, which arrived at `now`."""
        self.report = report
        self.heard = now
        # Kept, because each assignment reads them many times.
        self.clients = max(0, report.clients)
        self.weight = max(1, report.capacity)  # the divisor of its load
        # New clients per second that it can take. In this order of arguments a NaN becomes the minimum.
        self.admits = min(1e6, max(1.0, report.admits))

    def take_snapshot(self) -> NodeSnapshot:
        """Return the node's present figures, and keep them as `snapshot` until the next call."""
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
        """Clients of the last report plus pending tickets; a redeemed ticket counts as a client only."""
        return self.clients + self.pending

    @property
    def draining(self) -> bool:
        """Whether the node takes no new clients, because it reports so or because it was ordered to drain."""
        return self.report.draining or self.drain_by is not None

    def count_assignment(self, turn: int, now: float) -> None:
        """Note that the assignment of this number chose the node."""
        self.turn = turn
        self.assigned_lately(now)  # forgets those that are older than a second
        self.assigned_at.append(now)

    def assigned_lately(self, now: float) -> int:
        """Return how many clients were sent to the node within the last second."""
        while self.assigned_at and self.assigned_at[0] <= now - 1.0:
            self.assigned_at.popleft()
        return len(self.assigned_at)

    def is_busy(self, now: float, margin: float) -> bool:
        """Whether one more client within this second would exceed what the node admits, times the margin."""
        return self.assigned_lately(now) + 1 > max(1.0, self.admits * margin)

    def slow_start(self, mean: float, age: float) -> None:
        """Set the node's credit by the mean load of the others and by its age; at age 1 the slow start ends.

        An empty node that joins a busy fleet has by far the lowest load. It would get every new client until its load
        equals the others', so the node that has just started would get a whole storm of arrivals. The credit lifts the
        node to the mean load of the others, where it gets its share and no more. The credit shrinks with the node's
        age, so the node catches up little by little. A node at or above the mean gets no credit. So nothing changes in
        a fleet without clients, and nodes that start together never drift apart: if the clients of two nodes differ by
        one, the credit is less than one client, too little to make the difference two.
        """
        behind = mean - self.held / self.weight
        self.credit = max(0.0, behind) * max(0.0, 1 - age) * self.weight


class PendingTicket(Struct, frozen=True, gc=False):
    """The ticket of a client on its way, until the client arrives or the ticket expires."""

    expires: float
    node: FleetNode
    source: FleetNode | None
    """The node that moves the client away, and counts it until it has arrived; None for a client that just came."""

    def begin(self) -> None:
        """Count the client as on its way."""
        self.node.pending += 1
        if self.source is not None:
            self.source.leaving += 1

    def end(self) -> None:
        """Stop counting the client as on its way."""
        self.node.pending -= 1
        if self.source is not None:
            self.source.leaving -= 1
