"""A node's metrics for Prometheus: the present values of its counters.

This module owns the names of a node's metrics; the page's thread runs it. It must never change what it reads, nor delay
a message.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from parlour.node.node import Node
from parlour.runtime.metrics import histogram_metric
from parlour.runtime.operator_messages import printable

__all__ = ["NodeFigures"]


class NodeFigures:
    """The metrics of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def not_ready_reason(self) -> str:
        """Return why no client should be sent to this node now; empty if the node is ready."""
        report = self._node.last_report
        if report is None or not self._node.serving:
            return "the node is not in the fleet"
        if report.draining:
            return "the node is draining"
        failure = self._node.log.failure()
        if failure is not None:
            return f"the room log fails: {printable(failure[1])}"
        return ""

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._gauges()
        yield from self._counters()
        load = self._node.load
        yield histogram_metric(
            "parlour_node_wait_seconds", "Time from a post's arrival to the end of its delivery, per batch.", load.waits
        )
        yield histogram_metric("parlour_node_commit_seconds", "Time that the room log took, per batch.", load.commits)

    def _gauges(self) -> Iterator[Metric]:
        report = self._node.last_report
        if report is None:
            return
        links = self._node.watches.links.states()
        connections = self._node.clients.connections()
        for name, text, value in (
            ("clients", "Clients that were welcomed.", report.clients),
            ("connections", "Open connections, also those that have not said hello.", connections),
            ("capacity", "The largest number of clients.", report.capacity),
            ("rooms", "Rooms with members on this node.", report.rooms),
            ("log_up", "0 while the room log fails.", self._node.log.failure() is None),
            ("lagging", "Connections that read too slowly now.", report.lagging),
            ("draining", "1 while the node takes no new clients.", report.draining),
            ("peers", "Other nodes of the fleet.", len(links)),
            ("relay_links", "Other nodes whose relay is connected.", sum(state.connected for state in links)),
            ("troubles", "Troubles that the operator has to mend; `parlour status` shows them.", len(report.troubles)),
        ):
            yield GaugeMetricFamily(f"parlour_node_{name}", text, value)
        info = GaugeMetricFamily("parlour_node_info", "Always 1.", labels=["node", "version", "log"])
        info.add_metric([report.node, report.version, report.log], 1)
        yield info

    def _counters(self) -> Iterator[Metric]:
        load, totals = self._node.load, self._node.load.totals()
        for name, text, value in (
            ("posts", "Posts from clients.", totals.messages_in),
            ("deliveries", "Messages delivered live, counted once per member.", totals.messages_out),
            ("received_bytes", "Bytes of posts from clients.", totals.bytes_in),
            ("sent_bytes", "Bytes of messages to members.", totals.bytes_out),
            ("encodings", "Messages encoded as frames, each once for all members.", load.encoded),
            ("holes_mended", "Holes left by the relay that were filled from the log.", load.mended),
            ("log_errors", "Failed calls of the room log.", self._node.log.errors),
        ):
            yield CounterMetricFamily(f"parlour_node_{name}", text, value)
        refused = CounterMetricFamily(
            "parlour_node_refused_connections", "Connections refused, or ended by an error.", labels=["reason"]
        )
        for reason, count in sorted(self._node.refusals.snapshot().items()):
            refused.add_metric([reason], count)
        yield refused
