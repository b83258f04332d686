"""Load reports without nodes: made up, and published to a real broker over the real wire.

This module owns the PUB socket that replaces the nodes, used on the test's own thread. It must only send: it answers
nothing and serves no client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from parlour.runtime.addresses import endpoint
from parlour.runtime.broker_rpc import ask
from parlour.wire.codec import encode
from parlour.wire.control import Describe, Described, Enroll, Report
from parlour.wire.limits import parse_address

__all__ = ["Publisher", "make_report", "publisher"]


def make_report(node: str = "n1", **fields: Any) -> Report:
    """Return a report of this node; a test gives only the fields that it needs."""
    defaults: dict[str, Any] = {
        "instance": f"{node}-instance",
        "address": "127.0.0.1:7000",
        "relay": "127.0.0.1:7001",
        "log": "log",
        "capacity": 100,
    }
    return Report(node=node, **{**defaults, **fields})


class Publisher:
    """Enrols nodes with one broker and publishes their reports."""

    def __init__(self, broker: str, socket: zmq.Socket[bytes]) -> None:
        self._broker = broker
        self._socket = socket

    def enroll(self, report: Report) -> Report:
        """Add a node to the fleet, and return its report."""
        ask([self._broker], Enroll(report))
        return report

    def publish(self, *reports: Report) -> None:
        """Publish the reports; the first may be lost while the socket connects."""
        for report in reports:
            self._socket.send_multipart([b"report", encode(report)])


@contextmanager
def publisher(broker: str) -> Iterator[Publisher]:
    """Connect to the broker at this address like a node."""
    _, described = ask([broker], Describe())
    assert isinstance(described, Described)
    host, _ = parse_address(broker)
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.connect(endpoint(host, described.reports))
        yield Publisher(broker, socket)
