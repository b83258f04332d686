"""The cluster that the client's tests talk to.

This module owns starting and stopping it around a test, on the test's own thread. It must never be shared between
tests: what one leaves in a room would be another's history.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parlour.broker import BrokerSettings
from parlour.node import NodeSettings
from support import cluster as clusters
from support.cluster import Cluster
from support.tmux import Tmux
from support.tmux import tmux as terminal

QUICK = NodeSettings(capacity=500, report_interval=0.1, presence_interval=0.05, roster_wait=0.1)


@pytest.fixture
def empty_cluster() -> Iterator[Cluster]:
    """Run a broker without nodes; those that are added do quickly what they do at intervals."""
    with clusters.cluster(0, QUICK, BrokerSettings(retry_after=0.1, settle=0.1)) as running:
        yield running


@pytest.fixture
def cluster(empty_cluster: Cluster) -> Cluster:
    """Run a broker with two nodes that share a room log."""
    empty_cluster.add_node("n1")
    empty_cluster.add_node("n2")
    return empty_cluster


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    """Run a terminal for the test."""
    with terminal() as running:
        yield running
