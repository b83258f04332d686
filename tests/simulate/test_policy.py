"""The policies with which parlour's own is compared."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from parlour.simulate.comparison import POLICIES
from parlour.simulate.policy import LeastLoaded, Policy, RoundRobin, TwoChoices
from parlour.wire.control import Assign
from support.reports import make_report

every_policy = pytest.mark.parametrize("name", POLICIES)


def made(name: str) -> Policy:
    """Return a policy of this name."""
    return POLICIES[name](random.Random(name))


def chosen(policy: Policy, count: int, now: float = 0.0, failed: tuple[str, ...] = ()) -> Counter[str | None]:
    """Assign this many clients, and return how many went to each node."""
    return Counter(policy.assign(Assign(name=f"c{number}", failed=[*failed]), now).node for number in range(count))


def test_round_robin_goes_round() -> None:
    """Each node gets its turn, a node of twice the capacity twice as often, whatever the reports say."""
    policy = RoundRobin()
    for name, capacity, clients in (("n1", 100, 0), ("n2", 200, 150), ("n3", 100, 99)):
        policy.report(make_report(name, capacity=capacity, clients=clients), 0.0)
    assert chosen(policy, 40) == {"n1": 10, "n2": 20, "n3": 10}
    assert list(chosen(policy, 2)) != list(chosen(policy, 1)) * 2


def test_round_robin_owes_nothing() -> None:
    """A node that was away or joins late does not get the clients that it missed."""
    policy = RoundRobin()
    policy.report(make_report("n1"), 0.0)
    policy.report(make_report("n2", draining=True), 0.0)
    assert chosen(policy, 50) == {"n1": 50}
    policy.report(make_report("n2"), 1.0)
    assert chosen(policy, 50)["n1"] in range(24, 27)


def test_least_loaded() -> None:
    """All clients between two reports go to the node that was lowest in the last report."""
    policy = LeastLoaded(random.Random(1))
    policy.report(make_report("n1", clients=50), 0.0)
    policy.report(make_report("n2", capacity=200, clients=90), 0.0)
    assert chosen(policy, 30) == {"n2": 30}
    policy.report(make_report("n2", capacity=200, clients=120), 1.0)
    assert chosen(policy, 30, 1.0) == {"n1": 30}


def test_two_choices() -> None:
    """The lower of two random nodes is chosen: the lowest node in most cases, the highest only against itself."""
    policy = TwoChoices(random.Random(1))
    for number in range(4):
        policy.report(make_report(f"n{number}", clients=number), 0.0)
    found = chosen(policy, 1600)
    # Of 16 equally likely pairs the four nodes are the lower one in 7, 5, 3 and 1.
    assert [round(found[f"n{number}"] / 100) for number in range(4)] == [7, 5, 3, 1]


@every_policy
def test_closed_nodes_get_no_client(name: str) -> None:
    """Full, draining, stopping, silent and failed nodes are skipped; a client without a node is told when to retry."""
    policy = made(name)
    policy.report(make_report("silent"), 0.0)
    policy.report(make_report("stopping"), 2.0)
    policy.report(make_report("stopping", stopping=True), 3.0)
    policy.report(make_report("full", clients=100), 3.0)
    policy.report(make_report("draining", draining=True), 3.0)
    policy.report(make_report("failed"), 3.0)
    policy.report(make_report("well"), 3.0)
    assert chosen(policy, 40, 3.0, failed=("failed",)) == {"well": 40}
    answer = policy.assign(Assign(name="ada", failed=["failed", "well"]), 3.0)
    assert (answer.node, answer.retry_after) == (None, 1.0)


@every_policy
def test_a_node_is_back_with_its_next_report(name: str) -> None:
    """A node that reports that it is well can be chosen again."""
    policy = made(name)
    policy.report(make_report("n1"), 0.0)
    assert chosen(policy, 5, 10.0) == {None: 5}
    for instance, draining in (("a", True), ("a", False)):
        policy.report(make_report("n1", instance=instance, draining=draining), 10.0)
    assert chosen(policy, 5, 10.0) == {"n1": 5}


@every_policy
def test_no_report_no_node(name: str) -> None:
    """Without a report there is no node and no order."""
    policy = made(name)
    assert chosen(policy, 1) == {None: 1}
    assert policy.orders(0.0) == []
