"""Parlour's own policy: the broker's balancer and its orders, unchanged.

This module owns only the translation. It belongs to the one thread of its simulation. It must never decide anything:
the simulation must show what a broker does.
"""

from __future__ import annotations

from parlour.broker.balancer import Balancer
from parlour.broker.orders import Orders
from parlour.broker.settings import BrokerSettings
from parlour.simulate.policy import Answer
from parlour.wire.control import Assign, Order, Report

__all__ = ["ParlourPolicy"]


class ParlourPolicy:
    """A broker without sockets; with `auto` it rebalances by itself, like `parlour broker --auto`."""

    def __init__(self, auto: bool) -> None:
        settings = BrokerSettings(auto_rebalance=auto)
        self._balancer = Balancer(settings)
        self._orders = Orders(self._balancer, settings, "simulated")

    def report(self, report: Report, now: float) -> None:
        """Take a report that has arrived."""
        self._balancer.report(report, now)

    def assign(self, request: Assign, now: float) -> Answer:
        """Choose a node for a client."""
        ticket = str(self._balancer.assigned)
        decision = self._balancer.assign(request, now, ticket)
        return Answer(decision.node, ticket, self._balancer.retry_after(decision, now))

    def orders(self, now: float) -> list[Order]:
        """Return the orders to move clients."""
        self._balancer.tick(now)
        return self._orders.automatic(now)
