"""The state of the fleet as its reports tell it: a row per node, totals, and how evenly the clients are spread.

This module owns what a monitor believes between two reports. It is pure: reports, rosters and a clock (`now`,
monotonic seconds) go in, rows come out, on whatever one thread runs it. It must never read a clock or print.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict

from parlour.wire.control import NodeList, NodeState, Report, is_here

__all__ = ["FleetTable", "Row", "Snapshot"]

LOST_FOR = 60.0
"""Seconds that a node stays listed after it has left or fallen silent, as long as in the broker's own status."""

LATE_AFTER = 2
"""Intervals without a report after which a node is late, as the broker counts them."""

LOST_AFTER = 3
"""Intervals without a report after which the broker lets go of a node."""


@dataclass(frozen=True)
class Row:
    """A node's last report, that report's age in seconds, and a word for the node's state."""

    report: Report
    age: float
    state: str  # "ok", "full", "draining", "late", "lost" (fell silent) or "gone" (said that it stops)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON: the report's fields, of which `node` is called `name`, and `age` and `state`."""
        fields = asdict(self.report)
        return {"name": fields.pop("node"), **fields, "age": round(self.age, 3), "state": self.state}


@dataclass(frozen=True)
class Snapshot:
    """All rows, by name, and what they add up to."""

    rows: tuple[Row, ...]

    @classmethod
    def of_states(cls, states: Iterable[NodeState]) -> Snapshot:
        """Return the snapshot that a broker's own `status` amounts to."""
        return cls(tuple(Row(state.report, state.age, state.state) for state in states))

    @property
    def here(self) -> tuple[Row, ...]:
        """The rows of nodes that are in the fleet still; totals are over these."""
        return tuple(row for row in self.rows if is_here(row.state))

    @property
    def clients(self) -> int:
        """Clients on all nodes."""
        return sum(row.report.clients for row in self.here)

    @property
    def capacity(self) -> int:
        """Clients that all nodes together would take."""
        return sum(row.report.capacity for row in self.here)

    @property
    def imbalance(self) -> float:
        """Clients of the fullest node ÷ its share, by capacity: 1 if spread evenly, or if there are none."""
        loads = [(row.report.clients, max(1, row.report.capacity)) for row in self.here]
        clients, capacity = sum(clients for clients, _ in loads), sum(capacity for _, capacity in loads)
        return max(clients / capacity for clients, capacity in loads) * capacity / clients if clients else 1.0

    @property
    def troubles(self) -> list[str]:
        """What the nodes that are here report as wrong, a line each."""
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
        # As the broker bounds it; in this order a NaN becomes the shortest.
        self.interval = min(60.0, max(0.01, report.interval))
        self.left: float | None = None  # when a roster no longer had it, or its last word came

    def left_at(self, now: float) -> float | None:
        """Return when it left or is to be held for lost, or None if it is here."""
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
    """What is known of each node; those that vanish stay listed for a minute."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def seed(self, states: Iterable[NodeState], now: float) -> None:
        """Begin with what a broker's `status` says, so that nothing need be waited for."""
        for state in states:
            node = self._nodes[state.report.node] = _Node(state.report, now - state.age)
            if not is_here(state.state):
                node.left = node.heard

    def report(self, report: Report, now: float) -> None:
        """Take a report; one of a node that was held for lost brings it back."""
        node = self._nodes[report.node] = _Node(report, now)
        if report.stopping:
            node.left = now

    def roster(self, roster: NodeList, now: float) -> None:
        """Take a roster: nodes that are not in it have left, unless its broker is too young to have heard them."""
        if not roster.settled:
            return
        instances = {peer.instance for peer in roster.nodes}
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
