"""The cost of an assignment is measured on the real broker and the real balancer."""

from __future__ import annotations

from bench.brokerage import Echo, balancer_cost, measure_router
from bench.cluster import MemoryLog


def test_both_answer_everything() -> None:
    """The bare echo and the broker answer all requests."""
    for kind in (Echo, MemoryLog):
        assert measure_router(kind, 200).rate > 0


def test_a_fleet_has_a_cost() -> None:
    """An assignment is made, and takes time."""
    assert balancer_cost(3, 100) > 0
