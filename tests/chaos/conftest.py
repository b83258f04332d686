"""The clusters on which logs are played.

This module starts and stops them around a test, on the test's own thread. Tests must never share a cluster: messages
that one test leaves in a room would be history for another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster, quick_cluster


@pytest.fixture
def empty_cluster() -> Iterator[Cluster]:
    """Run a broker without nodes."""
    with quick_cluster() as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Run a broker with two nodes that share a room log."""
    with quick_cluster(2) as running:
        yield running
