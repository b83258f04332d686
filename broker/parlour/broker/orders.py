"""A broker's orders to nodes: to drain, or to move a number of clients to other nodes.

This module owns the standing orders and the time of the next. It is pure, with a clock passed in, and belongs to the
one thread that runs its balancer. It must never react to another broker's orders: their effect shows in the nodes' own
reports.
"""

from __future__ import annotations

from msgspec.structs import replace

from parlour.broker.balancer import Balancer
from parlour.broker.nodes import FleetNode
from parlour.broker.reasons import listed, unknown_node
from parlour.broker.rebalance_plan import NodeLoad, plan_moves
from parlour.broker.settings import BrokerSettings
from parlour.runtime.output import counted
from parlour.wire.control import Drain, Order, Refused, Transfer

__all__ = ["Orders"]

_CHECK = 1.0
"""Seconds between two checks whether the fleet is even."""

_REPEATED = 5.0
"""Seconds for which an order to move clients is repeated to a node that does not follow it; then it is outdated."""


class Orders:
    """The orders of one broker."""

    def __init__(self, balancer: Balancer, settings: BrokerSettings, broker: str) -> None:
        """Give orders in the name of `broker`, a word that is unique to this run of this broker."""
        self._balancer = balancer
        self._settings = settings
        self._broker = broker
        # The last order to move clients, by node, and the number of rebalances so far.
        self._given: dict[str, Order] = {}
        self._count = 0
        # When an order to move clients was last given, and when the broker may next give one by itself.
        self._moved = float("-inf")
        self._due = float("-inf")

    def unfollowed(self, name: str, now: float) -> Order | None:
        """Return the order that a node which has just reported does not follow yet: the order may have been lost."""
        node = self._balancer.fleet.nodes.get(name)
        if node is None:
            return None
        if node.drain_by is not None:
            return self._drain(node, max(0.0, node.drain_by - now))
        order = self._given.get(name)
        if order is None or order.instance != node.report.instance or order.id in node.report.orders:
            return None
        return order if now <= self._moved + _REPEATED else None

    # --- drain -----------------------------------------------------------------------------------------------

    def drain(self, request: Drain, now: float) -> Order | Refused:
        """Order a node to drain, and give it no more clients; return the order or a refusal."""
        node = self._balancer.fleet.nodes.get(request.node)
        if node is None:
            names = listed(sorted(self._balancer.fleet.nodes)) or "none"
            return Refused("no_node", f"{unknown_node(request.node)}; its nodes: {names}")
        longest = self._settings.longest_drain
        if not 0 <= request.deadline <= longest:
            return Refused("bad_request", f"a deadline must be 0 to {longest:g} seconds, not {request.deadline:g}")
        if not node.draining and (reason := self._reason_needed(node)):
            return Refused("last_node", reason)
        if not node.report.draining:
            self._balancer.drain(node, now + request.deadline)
        return self._drain(node, request.deadline)

    def _reason_needed(self, node: FleetNode) -> str:
        """Return why the fleet cannot lose this node, or ""."""
        states = [other.snapshot.state for other in self._balancer.fleet.nodes.values() if other is not node]
        if "ok" in states or ("full" in states and not node.clients):
            return ""
        clients = f"its {counted(node.clients, 'client')}" if node.clients else "clients"
        return f"no node except {node.name} can take {clients}: start another node first"

    def _drain(self, node: FleetNode, deadline: float) -> Order:
        return Order(node=node.name, instance=node.report.instance, drain=True, deadline=deadline)

    # --- rebalance -------------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Order]:
        """Return the orders that would even out the fleet, without giving them."""
        orders: dict[str, Order] = {}
        for move in plan_moves(self._load(node) for node in self._balancer.fleet.present(now)):
            node = self._balancer.fleet.nodes.get(move.source)
            assert node is not None
            order = orders.setdefault(node.name, Order(node=node.name, instance=node.report.instance, moves=[]))
            order.moves.append(Transfer(to=move.target, clients=move.clients))
        return list(orders.values())

    def rebalance(self, now: float) -> list[Order]:
        """Return the orders that even out the fleet; the caller gives them now."""
        self._count += 1
        orders = [replace(order, id=f"{self._broker}-{self._count}") for order in self.plan(now)]
        self._given = {order.node: order for order in orders}
        if orders:
            self._moved = now
            self._due = now + self._settings.rebalance_every
        return orders

    def automatic(self, now: float) -> list[Order]:
        """Return the orders that the broker gives by itself, if its settings allow it.

        It gives none until every node has reported since the last order, and none while clients of a lost node are
        coming back.
        """
        if not self._settings.auto_rebalance or now < self._due or self._balancer.is_storm(now):
            return []
        self._due = now + _CHECK
        if any(node.heard <= self._moved for node in self._balancer.fleet.present(now)):
            return []
        return self.rebalance(now)

    def _load(self, node: FleetNode) -> NodeLoad:
        # Clients on their way count at their target, not at their source; else those told to move would count twice.
        clients = node.pending + max(0, node.clients - node.leaving)
        return NodeLoad(node.name, clients, node.weight, max(0, node.report.capacity - node.held))
