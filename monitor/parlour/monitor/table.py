"""The state of the fleet according to its reports: a row for each node, totals, and the imbalance.

This module owns what a monitor knows between two reports. It is pure: reports, lists of nodes and the time (`now`,
monotonic seconds) go in, rows come out; one thread uses a table. It must never read a clock or print.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict

from parlour.wire.control import NodeList, NodeState, Report, is_here

__all__ = ["FleetTable", "Row", "Snapshot"]

LOST_FOR = 60.0
"""Seconds that a node stays in the table after it has left or fallen silent, as in the broker's own status."""

LATE_AFTER = 2
"""Intervals without a report after which a node is late, as in the broker."""

LOST_AFTER = 3
"""Intervals without a report after which a node is lost, as in the broker."""


@dataclass(frozen=True)
class Row:
    """A node's last report, the age of that report in seconds, and the node's state."""

    report: Report
    age: float
    state: str  # "ok", "full", "draining", "late", "lost" (fell silent) or "gone" (stopped in order)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON: the report's fields, of which `node` is called `name`, and `age` and `state`."""
        fields = asdict(self.report)
        return {"name": fields.pop("node"), **fields, "age": round(self.age, 3), "state": self.state}


@dataclass(frozen=True)
class Snapshot:
    """All rows, in the order of the nodes' names, and totals."""

    rows: tuple[Row, ...]

    @classmethod
    def of_states(cls, states: Iterable[NodeState]) -> Snapshot:
        """Return the snapshot for the nodes in a broker's `status`."""
        return cls(tuple(Row(state.report, state.age, state.state) for state in states))

    @property
    def here(self) -> tuple[Row, ...]:
        """The rows of the nodes in the fleet; the totals count only these."""
        return tuple(row for row in self.rows if is_here(row.state))

    @property
    def clients(self) -> int:
        """Clients on all nodes."""
        return sum(row.report.clients for row in self.here)

    @property
    def capacity(self) -> int:
        """Clients that all nodes together can take."""
        return sum(row.report.capacity for row in self.here)

    @property
    def imbalance(self) -> float:
        """Clients of the fullest node ÷ its share by capacity: 1 if they are spread evenly, or if there are none."""
        loads = [(row.report.clients, max(1, row.report.capacity)) for row in self.here]
        clients, capacity = sum(clients for clients, _ in loads), sum(capacity for _, capacity in loads)
        return max(clients / capacity for clients, capacity in loads) * capacity / clients if clients else 1.0

    @property
    def troubles(self) -> list[str]:
        """The troubles that the nodes in the fleet report, one line for each."""
        return [f"{row.report.node}: {trouble}" for row in self.here for trouble in row.report.troubles]

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot for JSON."""
        here = self.here
        return {
            "nodes": [row.as_dict() for row in self.rows],
            "troubles": self.troubles,
            "clients": self.clients,
            "capacity": self.capacity,
            "imbalance": round(self.imbalance, 4),
            "messages_in": sum(row.report.messages_in for row in here),
            "messages_out": sum(row.report.messages_out for row in here),
            "lagging": sum(row.report.lagging for row in here),
        }


class _Node:
    __slots__ = ("heard", "interval", "left", "report")

    def __init__(self, report: Report, heard: float) -> None:
        self.report = report
        self.heard = heard
        # The same bounds as in the broker; with this order of arguments NaN becomes the shortest interval.
        self.interval = min(60.0, max(0.01, report.interval))
        self.left: float | None = None  # when a list of nodes was without it, or its last report came

    def left_at(self, now: float) -> float | None:
        """Return the time when the node left or became lost; None if it is in the fleet."""
        if self.left is not None:
            return self.left
        silent = self.heard + LOST_AFTER * self.interval
        return silent if now > silent else None

    def state(self, now: float) -> str:
        if self.left_at(now) is not None:
            return "gone" if self.report.stopping else "lost"
        if now - self.heard > LATE_AFTER * self.interval:
            return "late"
        if self.report.draining:
            return "draining"
        return "full" if self.report.clients >= self.report.capacity else "ok"


class FleetTable:
    """The nodes with their last reports; a node that leaves stays in the table for a minute."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def seed(self, states: Iterable[NodeState], now: float) -> None:
        """Fill the table from a broker's `status`, so that it need not wait for reports."""
        for state in states:
            node = self._nodes[state.report.node] = _Node(state.report, now - state.age)
            if not is_here(state.state):
                node.left = node.heard

    def add(self, report: Report, now: float) -> None:
        """Add a report; a report of a lost node brings the node back."""
        node = self._nodes[report.node] = _Node(report, now)
        if report.stopping:
            node.left = now

    def apply(self, node_list: NodeList, now: float) -> None:
        """Mark nodes that are not in the list as left, unless the broker has just started and may not know them yet."""
        if not node_list.settled:
            return
        instances = {peer.instance for peer in node_list.nodes}
        for node in self._nodes.values():
            if node.left_at(now) is None and node.report.instance not in instances:
                node.left = now

    def snapshot(self, now: float) -> Snapshot:
        """Return the rows as of now, and forget nodes that have been gone for long."""
        for name, node in list(self._nodes.items()):
            left = node.left_at(now)
            if left is not None and now - left > LOST_FOR:
                del self._nodes[name]
        return Snapshot(
            tuple(
                Row(node.report, max(0.0, now - node.heard), node.state(now)) for _, node in sorted(self._nodes.items())
            )
        )
