"""A broker's metrics for Prometheus: nodes by state, their clients, and counts of the broker's answers.

This module owns the names of a broker's metrics; the page's thread runs it. It must never read the balancer, which
belongs to the broker's thread: it asks for a snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from parlour.broker.service import Broker

__all__ = ["BrokerFigures"]

STATES = ("ok", "full", "draining", "late", "lost", "gone")
"""The states of a node."""


class BrokerFigures:
    """The figures of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def not_ready_reason(self) -> str:
        """Return why clients should not ask this broker now, or ""."""
        snapshot = self._broker.snapshot()
        if snapshot is None:
            return "the broker does not answer"
        return "" if snapshot.settled else "the broker has just started and may not know all nodes yet"

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, or none if the broker does not answer."""
        snapshot = self._broker.snapshot()
        if snapshot is None:
            return
        count = Counter(state.state for state in snapshot.nodes)
        nodes = GaugeMetricFamily("parlour_broker_nodes", "Nodes by state.", labels=["state"])
        for word in STATES:
            nodes.add_metric([word], count[word])
        yield nodes
        for name, text, values in (
            ("report_age_seconds", "Age of the node's last report.", [state.age for state in snapshot.nodes]),
            ("node_clients", "Clients, by the node's last report.", [state.report.clients for state in snapshot.nodes]),
            ("node_capacity", "Clients at most.", [state.report.capacity for state in snapshot.nodes]),
            ("node_pending", "Clients on their way to the node.", [state.pending for state in snapshot.nodes]),
            (
                "node_troubles",
                "Problems that the operator must solve.",
                [len(it.report.troubles) for it in snapshot.nodes],
            ),
        ):
            family = GaugeMetricFamily(f"parlour_broker_{name}", text, labels=["node"])
            for state, value in zip(snapshot.nodes, values, strict=True):
                family.add_metric([state.report.node], value)
            yield family
        for name, text, label, counts in (
            ("assignments", "Requests of clients for a node, by outcome.", "outcome", snapshot.assignments),
            ("refused_reports", "Node reports refused, by reason.", "reason", snapshot.refused_reports),
        ):
            total = CounterMetricFamily(f"parlour_broker_{name}", text, labels=[label])
            for reason, number in sorted(counts.items()):
                total.add_metric([reason], number)
            yield total
