"""What a broker tells nodes to do: drain, and move so many clients to others.

This module owns which orders stand and when the next may be given. It is pure, with a clock passed in, and belongs to
the one thread that runs its balancer. It must never order anything because of another broker's orders: what these
brought about is in the nodes' own reports.
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
"""Seconds between two looks whether the fleet is even."""

_REPEATED = 5.0
"""Seconds for which clients are told to move again where nobody heard it: what is older no longer fits the fleet."""


class Orders:
    """The orders of one broker."""

    def __init__(self, balancer: Balancer, settings: BrokerSettings, broker: str) -> None:
        """Give orders in the name of `broker`, a word that no other broker has, nor this one after its next start."""
        self._balancer = balancer
        self._settings = settings
        self._broker = broker
        # By node: what was ordered last, and how often anything was.
        self._given: dict[str, Order] = {}
        self._count = 0
        # When clients were last told to move, and when the broker may tell some to by itself.
        self._moved = float("-inf")
        self._due = float("-inf")

    def unfollowed(self, name: str, now: float) -> Order | None:
        """Return the order that a node which has just reported does not follow yet: it may not have heard it."""
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
        """Return the order for a node to drain, which gets no clients from now on; or why there is none."""
        node = self._balancer.fleet.nodes.get(request.node)
        if node is None:
            there = listed(sorted(peer.node for peer in self._balancer.fleet.peers())) or "none"
            return Refused("no_node", f"{unknown_node(request.node)}: there is {there}")
        longest = self._settings.longest_drain
        if not 0 <= request.deadline <= longest:
            return Refused("bad_request", f"a deadline is 0 to {longest:g} seconds, not {request.deadline:g}")
        if not node.draining and (hindrance := self._last(node)):
            return Refused("last_node", hindrance)
        if not node.report.draining:
            self._balancer.drain(node, now + request.deadline)
        return self._drain(node, request.deadline)

    def _last(self, node: FleetNode) -> str:
        """Return why the cluster cannot do without this node, or nothing."""
        others = [
            self._balancer.fleet.nodes.get(peer.node) for peer in self._balancer.fleet.peers() if peer.node != node.name
        ]
        states = [other.snapshot.state for other in others if other is not None]
        if "ok" in states or ("full" in states and not node.clients):
            return ""
        clients = f"its {counted(node.clients, 'client')}" if node.clients else "clients"
        return f"no node but {node.name} is there to take {clients}: start another node first"

    def _drain(self, node: FleetNode, deadline: float) -> Order:
        return Order(node=node.name, instance=node.report.instance, drain=True, deadline=deadline)

    # --- rebalance -------------------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Order]:
        """Return who should move how many clients to whom, without telling anybody."""
        orders: dict[str, Order] = {}
        for move in plan_moves(self._load(node) for node in self._balancer.fleet.present(now)):
            node = self._balancer.fleet.nodes.get(move.source)
            assert node is not None
            order = orders.setdefault(node.name, Order(node=node.name, instance=node.report.instance, moves=[]))
            order.moves.append(Transfer(to=move.target, clients=move.clients))
        return list(orders.values())

    def rebalance(self, now: float) -> list[Order]:
        """Return the orders that even out the fleet, which are to be given."""
        self._count += 1
        orders = [replace(order, id=f"{self._broker}-{self._count}") for order in self.plan(now)]
        self._given = {order.node: order for order in orders}
        if orders:
            self._moved = now
            self._due = now + self._settings.rebalance_every
        return orders

    def automatic(self, now: float) -> list[Order]:
        """Return the orders to be given without anybody asking: some only if the settings say so.

        Not before every node has reported since the last order, nor while the clients of a lost node come back.
        """
        if not self._settings.auto_rebalance or now < self._due or self._balancer.is_storm(now):
            return []
        self._due = now + _CHECK
        if any(node.heard <= self._moved for node in self._balancer.fleet.present(now)):
            return []
        return self.rebalance(now)

    def _load(self, node: FleetNode) -> NodeLoad:
        # Clients on their way count where they go, not where they come from: else those told to move count twice.
        clients = node.pending + max(0, node.clients - node.leaving)
        return NodeLoad(node.name, clients, node.weight, max(0, node.report.capacity - node.held))
