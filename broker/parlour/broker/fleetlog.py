"""The broker's log of its fleet: a line for each node that joins or leaves, for each order, and counts of refusals.

This module owns the words, and the counts of refusals by their codes; the broker's thread alone calls it, but for the
counts, which others may read. It must never log a line for each thing that a stranger can do at will.
"""

from __future__ import annotations

from collections.abc import Sequence

from parlour.runtime.logs import Tally, broker_log
from parlour.wire.control import NodeState, Order, Refusal, Report, is_here

__all__ = ["FleetLog"]

TOLD = 100
"""Refused nodes of which each is told by name; all are counted."""


class FleetLog:
    """The log of one broker, and its counts of refusals."""

    def __init__(self) -> None:
        self._listed: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self.refused_reports = Tally(broker_log, "reports of nodes refused")
        self.refused_clients = Tally(broker_log, "clients given no node")

    def refuse(self, report: Report, refusal: Refusal) -> None:
        """A node's report was not taken."""
        what = (refusal.code, report.node)
        if what not in self._told and len(self._told) < TOLD:
            self._told.add(what)
            broker_log.warning("node %s is refused: %s", report.node, refusal.text)
        self.refused_reports.add(refusal.code)

    def order(self, order: Order) -> None:
        """A node is told to do something."""
        if order.drain:
            broker_log.info("node %s is told to drain within %g s", order.node, order.deadline)
        for move in order.moves:
            broker_log.info("node %s is told to move %d clients to %s", order.node, move.clients, move.to)

    def change(self, states: Sequence[NodeState]) -> None:
        """The fleet has changed, and is now this."""
        there = {state.report.node: state.report.address for state in states if is_here(state.state)}
        silent = {state.report.node for state in states if state.state == "lost"}
        for name in sorted(there.keys() - self._listed):
            broker_log.info("node %s joined the fleet at %s", name, there[name])
        for name in sorted(self._listed - there.keys()):
            if name in silent:
                broker_log.warning("node %s is lost: it fell silent", name)
            else:
                broker_log.info("node %s left the fleet", name)
        self._listed = set(there)

    def tell(self) -> None:
        """Log what was counted, if it is time."""
        self.refused_reports.tell()
        self.refused_clients.tell()
