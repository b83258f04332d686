"""Admission: whether a client may go to a node now, or has to wait for its turn because a node was lost.

This module owns the link between the fleet and its storm. It is pure and belongs to the one thread that runs its
balancer. It must never look at many nodes, nor delay a client while no storm is active.
"""

from __future__ import annotations

from collections.abc import Collection

from parlour.broker.fleet_table import FleetTable
from parlour.broker.nodes import FleetNode
from parlour.broker.reasons import reason_chosen
from parlour.broker.settings import BrokerSettings
from parlour.broker.storm import Storm
from parlour.wire.control import Assign, Report

__all__ = ["Admission"]


class Admission:
    """Admits the clients of one fleet."""

    def __init__(self, settings: BrokerSettings, fleet: FleetTable) -> None:
        self._settings = settings
        self._fleet = fleet
        self._storm = Storm(settings)

    def node_lost(self, node: FleetNode, now: float) -> None:
        """Expect the node's clients: it has left, or many clients cannot reach it."""
        self._storm.node_lost(node.report, node.held, now)

    def node_back(self, report: Report) -> None:
        """Expect no clients of this node any more: it is in the fleet, or it keeps its clients."""
        self._storm.node_back(report)

    def missed(self, client: str, failed: Collection[str], now: float) -> None:
        """Note that a client could not reach these live nodes.

        A node that many clients cannot reach counts as lost before it falls silent.
        """
        for node in (self._fleet.nodes[name] for name in failed):
            if node.draining or len(node.missed_by) >= self._settings.cut_off:
                continue
            node.missed_by.add(client)
            if len(node.missed_by) == self._settings.cut_off:
                self.node_lost(node, now)
                self._fleet.withdraw(node)
                self._fleet.place(node)

    def is_storm(self, now: float) -> bool:
        """Whether more clients of lost nodes are coming back than the fleet can take at once."""
        return self._storm.is_active(now, self._fleet.admits)

    def admit(
        self, request: Assign, chosen: FleetNode, words: str, failed: Collection[str], now: float
    ) -> tuple[FleetNode | None, str, str]:
        """Return a node, code and reason for a client in a storm, for which `chosen` was chosen for the reason `words`.

        If it is the client's turn, the node is `chosen`, or another if `chosen` can take no more clients within this
        second. Else there is no node, and the reason tells when the client's turn is.
        """
        # If all nodes are out of reach, their sum is 0, although one of them was chosen.
        rate = max(chosen.admits, self._fleet.admits)
        margin = self._settings.admits_margin
        idle: FleetNode | None = chosen
        if chosen.is_busy(now, margin):
            # This looks at few nodes: one is busy only if it was chosen hundreds of times within the last second.
            others = () if request.node is not None else self._fleet.open_nodes(failed)
            idle = next((node for node in others if not node.is_busy(now, margin)), None)
        if idle is None:
            wait = self._storm.postpone(request.name, now, rate)
        else:
            wait = self._storm.take_turn(request.name, now, rate)
        if idle is not None and not wait:
            return idle, "", words if idle is chosen else reason_chosen([idle.snapshot], failed, hurried=True)
        asked = "" if request.node is None else f"node {request.node} was requested, but "
        return None, "storm", asked + self._storm.reason(wait, rate)

    def wait_time(self, client: str, now: float) -> float:
        """Return in how many seconds a client whose turn was put off should ask again."""
        return self._storm.wait_time(client, now)
