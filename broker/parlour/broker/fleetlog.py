"""The broker's log of its fleet: a line for each node that joins or leaves, for each order, and counts of refusals.

This module owns these lines, and the counts of refusals by code. Only the broker's thread calls it, but other threads
may read the counts. It must never log a line for each act that an outsider can repeat at will.
"""

from __future__ import annotations

from collections.abc import Sequence

from parlour.runtime.logs import Tally, broker_log
from parlour.wire.control import NodeState, Order, Refusal, Report, is_here

__all__ = ["FleetLog"]

NAMED = 100
"""Refused nodes that are logged by name at most; all are counted."""


class FleetLog:
    """The log of one broker, and its counts of refusals."""

    def __init__(self) -> None:
        self._listed: set[str] = set()
        self._named: set[tuple[str, str]] = set()
        self.refused_reports = Tally(broker_log, "node reports refused")
        self.refused_clients = Tally(broker_log, "clients given no node")

    def refuse(self, report: Report, refusal: Refusal) -> None:
        """Log and count a refused report."""
        what = (refusal.code, report.node)
        if what not in self._named and len(self._named) < NAMED:
            self._named.add(what)
            broker_log.warning("node %s is refused: %s", report.node, refusal.text)
        self.refused_reports.add(refusal.code)

    def order(self, order: Order) -> None:
        """Log an order."""
        if order.drain:
            broker_log.info("ordered node %s to drain within %g s", order.node, order.deadline)
        for move in order.moves:
            broker_log.info("ordered node %s to move %d clients to %s", order.node, move.clients, move.to)

    def change(self, states: Sequence[NodeState]) -> None:
        """Log the nodes that joined or left since the last call; `states` is the fleet's status now."""
        present = {state.report.node: state.report.address for state in states if is_here(state.state)}
        silent = {state.report.node for state in states if state.state == "lost"}
        for name in sorted(present.keys() - self._listed):
            broker_log.info("node %s joined the fleet at %s", name, present[name])
        for name in sorted(self._listed - present.keys()):
            if name in silent:
                broker_log.warning("node %s is lost: it fell silent", name)
            else:
                broker_log.info("node %s left the fleet", name)
        self._listed = set(present)

    def tell(self) -> None:
        """Log the counts, if it is time."""
        self.refused_reports.tell()
        self.refused_clients.tell()
