"""The cluster that the client's tests use.

This module owns its start and its stop around a test, on the test's own thread. Tests must never share a cluster: the
messages of one test would be the history of another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster, quick_cluster
from support.tmux import Tmux
from support.tmux import tmux as terminal


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


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    """Run a terminal for the test."""
    with terminal() as running:
        yield running
