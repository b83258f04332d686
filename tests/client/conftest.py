"""The cluster that the client's tests talk to.

This module owns starting and stopping it around a test, on the test's own thread. It must never be shared between
tests: what one leaves in a room would be another's history.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from parlour.broker import Broker, BrokerSettings
from support.little_cluster import Cluster


@pytest.fixture
def empty_cluster() -> Iterator[Cluster]:
    """Run a broker without nodes."""
    with ExitStack() as closing:
        broker = Broker(BrokerSettings(bind="127.0.0.1:0", retry_after=0.1, settle=0.1))
        broker.start()
        closing.callback(broker.stop)
        yield Cluster(broker, [], f"memory://{uuid4()}", closing)


@pytest.fixture
def cluster(empty_cluster: Cluster) -> Cluster:
    """Run a broker with two nodes that share a room log."""
    empty_cluster.add_node("n1")
    empty_cluster.add_node("n2")
    return empty_cluster
