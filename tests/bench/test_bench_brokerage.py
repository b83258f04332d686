"""What an assignment costs is found out from the real broker and the real balancer."""

from __future__ import annotations

from bench.brokerage import Echo, balancer_cost, pace
from bench.cluster import MemoryLog


def test_both_answer_everything() -> None:
    """The bare echo and the broker answer as many questions as they are asked."""
    for kind in (Echo, MemoryLog):
        assert pace(kind, 200).rate > 0


def test_every_size_of_fleet_has_its_cost() -> None:
    """An assignment takes time, and is made."""
    assert balancer_cost(3, 100) > 0
