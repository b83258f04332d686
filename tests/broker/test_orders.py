from __future__ import annotations

from typing import Any

import pytest

from parlour.broker import Balancer, BrokerSettings
from parlour.broker.orders import Orders
from parlour.wire.control import Assign, Drain, Order, Refused, Report, Transfer


def report(name: str, **fields: Any) -> Report:
    """Return a plausible report of the node; `fields` replace some of its values."""
    fields = {"instance": f"{name}-a", "address": f"{name}:1", "relay": f"{name}:2", "log": "L", **fields}
    return Report(node=name, **{"capacity": 1000, **fields})


def fleet(*reports: Report, now: float = 0.0, **options: Any) -> tuple[Balancer, Orders]:
    """Return the balancer of these nodes, and the orders of its broker."""
    options_ = BrokerSettings(**options)
    balancer = Balancer(options_)
    for each in reports:
        assert balancer.report(each, now) is None
    return balancer, Orders(balancer, options_, "b1")


def test_a_drain_lapses() -> None:
    """A node that never reports that it drains gets the order again at each report, and clients again in the end."""
    balancer, orders = fleet(report("n1"), report("n2", interval=60.0))
    assert isinstance(orders.drain(Drain("n1", 2.0), 0.0), Order)
    for now, deadline in ((1.0, 1.0), (2.0, 0.0), (4.0, 0.0), (6.0, 0.0)):
        balancer.report(report("n1"), now)
        assert orders.unfollowed("n1", now) == Order(node="n1", instance="n1-a", drain=True, deadline=deadline)
        assert balancer.assign(Assign("ada"), now, f"t{now}").node == "n2"
    balancer.report(report("n1"), 7.0)
    assert orders.unfollowed("n1", 7.0) is None
    assert balancer.assign(Assign("ada"), 7.0, "t").node == "n1"


@pytest.mark.parametrize("others", [[], [report("n2", draining=True)], [report("n2", clients=9, capacity=9)]])
def test_the_last_node_is_not_drained(others: list[Report]) -> None:
    """No other node could take its clients or new ones: the order is refused, and the refusal says what to do."""
    balancer, orders = fleet(report("n1", clients=7), *others)
    refused = orders.drain(Drain("n1"), 0.0)
    assert isinstance(refused, Refused)
    assert refused.code == "last_node"
    assert refused.text == "no node except n1 can take its 7 clients: start another node first"
    assert balancer.assign(Assign("ada"), 0.0, "t").node == "n1"


def test_of_two_nodes_only_one_is_drained() -> None:
    """The second drain is refused even before the first node reports that it drains; the first may be repeated."""
    _, orders = fleet(report("n1"), report("n2"))
    assert isinstance(orders.drain(Drain("n1"), 0.0), Order)
    assert isinstance(orders.drain(Drain("n2"), 0.0), Refused)
    assert isinstance(orders.drain(Drain("n1", 60.0), 0.0), Order)


def test_an_order_is_for_one_instance() -> None:
    """A node that was killed during its drain and returns under its name gets no order to drain."""
    balancer, orders = fleet(report("n1"), report("n9", interval=60.0))
    orders.drain(Drain("n1"), 0.0)
    balancer.report(report("n1", instance="n1-b"), 3.0)
    assert orders.unfollowed("n1", 3.0) is None
    assert orders.unfollowed("n2", 3.0) is None
    assert balancer.assign(Assign("ada"), 3.0, "t").node == "n1"


def test_another_brokers_drain() -> None:
    """A node that drains by itself gets the order only on request, and takes clients when its drain is over."""
    balancer, orders = fleet(report("n1", draining=True))
    assert orders.unfollowed("n1", 0.0) is None
    assert isinstance(orders.drain(Drain("n1", 9.0), 0.0), Order)
    assert orders.unfollowed("n1", 0.0) is None
    balancer.report(report("n1"), 1.0)
    assert balancer.assign(Assign("ada"), 1.0, "t").node == "n1"


def test_an_unknown_node_is_not_drained() -> None:
    """The refusal lists the nodes, or says that there are none; it does not repeat a long name."""
    _, orders = fleet()
    refused = orders.drain(Drain("n" * 10_000), 0.0)
    assert isinstance(refused, Refused)
    assert refused.text.endswith("in the fleet; its nodes: none")
    assert len(refused.text) < 200


def test_nodes_in_a_plan() -> None:
    """Draining and late nodes neither give nor get; full nodes only give; clients on their way count."""
    balancer, orders = fleet(
        report("n1", clients=100, capacity=100),
        report("n2", clients=20, capacity=100),
        report("n3", capacity=100, draining=True),
        report("n4", capacity=100, interval=0.9),
        report("n5", capacity=0),
    )
    for name in ("n1", "n2", "n3", "n5"):
        node = balancer.fleet.nodes.get(name)
        assert node is not None
        balancer.report(node.report, 2.0)
    for index in range(10):
        balancer.assign(Assign("ada", node="n2"), 2.0, f"t{index}")
    assert orders.plan(2.0) == [Order(node="n1", instance="n1-a", moves=[Transfer("n2", 35)])]


def test_moving_clients_count_once() -> None:
    """Clients with tickets count at their target; if they do not go, they count at their source again."""
    balancer, orders = fleet(*(report(f"n{number}", clients=number % 2 * 100, interval=60.0) for number in (1, 2)))
    assert orders.plan(0.0)[0].moves == [Transfer("n2", 50)]
    for index in range(50):
        balancer.assign(Assign(f"c{index}", node="n2", failed=["n1"]), 0.0, f"t{index}")
        left = [Transfer("n2", 49 - index)]
        assert [order.moves for order in orders.plan(0.0)] == ([left] if index < 47 else [])
    balancer.report(report("n2", clients=20, interval=60.0, redeemed=[f"t{index}" for index in range(20)]), 1.0)
    balancer.report(report("n1", clients=80, interval=60.0), 1.0)
    assert orders.plan(1.0) == []
    balancer.tick(30.0)
    assert orders.plan(30.0)[0].moves == [Transfer("n2", 30)]


def test_a_lost_order_is_repeated() -> None:
    """A node gets the order at each report until it lists the order; after five seconds the order is outdated."""
    balancer, orders = fleet(report("n1", clients=100), report("n2", clients=100), report("n3"))
    given = {order.node: order for order in orders.rebalance(0.0)}
    assert given.keys() == {"n1", "n2"}
    balancer.report(report("n1", clients=100, orders=[given["n1"].id]), 1.0)
    assert orders.unfollowed("n1", 1.0) is None
    for now in (1.0, 3.0, 5.0):
        balancer.report(report("n2", clients=100, orders=["another's"]), now)
        assert orders.unfollowed("n2", now) == given["n2"]
    assert orders.unfollowed("n3", 5.0) is None
    balancer.report(report("n2", clients=100), 5.1)
    assert orders.unfollowed("n2", 5.1) is None


def test_a_new_order_replaces_the_last() -> None:
    """Each order has its own id, only the last is repeated, and none to another instance of the node."""
    balancer, orders = fleet(report("n1", clients=100), report("n2"))
    (first,), (second,) = orders.rebalance(0.0), orders.rebalance(1.0)
    assert first.id != second.id
    assert orders.unfollowed("n1", 1.0) == second
    balancer.report(report("n1", instance="n1-b", clients=100), 4.0)
    assert orders.unfollowed("n1", 4.0) is None
    balancer.report(report("n1", instance="n1-b"), 4.0)
    assert orders.rebalance(4.0) == []
    assert orders.unfollowed("n1", 4.0) is None


def test_orders_are_few_and_far_between() -> None:
    """By itself a broker gives orders at most every ten seconds, and only after a report from every node."""
    balancer, orders = fleet(report("n1", clients=100), report("n2"), auto_rebalance=True)

    def tell(now: float, first: int, second: int) -> list[Order]:
        balancer.report(report("n1", clients=first, interval=5.0), now)
        balancer.report(report("n2", clients=second, interval=5.0), now)
        return orders.automatic(now)

    assert orders.automatic(0.0)[0].moves == [Transfer("n2", 50)]
    assert not tell(1.0, 100, 0)
    assert not tell(9.9, 100, 0)
    balancer.report(report("n1", clients=100, interval=5.0), 10.0)
    assert tell(10.0, 80, 20)[0].moves == [Transfer("n2", 30)]
    assert not orders.automatic(20.0)
    balancer.report(report("n1", clients=80, interval=5.0), 20.5)
    assert not orders.automatic(21.0)
    assert tell(22.0, 80, 20)
    assert not tell(32.0, 50, 50)
    assert not tell(32.5, 80, 20)
    assert tell(33.0, 80, 20)


def test_a_node_that_joins_is_filled() -> None:
    """A node that joins gets its share from the others at once, although new clients come to it slowly."""
    balancer, orders = fleet(report("n1", clients=300), report("n2", clients=300), auto_rebalance=True)
    assert not orders.automatic(0.0)
    balancer.report(report("n3"), 1.0)
    moves = {order.node: order.moves for order in orders.automatic(1.0)}
    assert moves == {"n1": [Transfer("n3", 100)], "n2": [Transfer("n3", 100)]}


@pytest.mark.parametrize("auto", [False, True])
def test_no_automatic_orders_in_a_storm(auto: bool) -> None:
    """Without `--auto`, or while a lost node's clients come back, clients move only on request."""
    nodes = [report("n1", clients=100, admits=5.0), report("n2", admits=5.0), report("n3", clients=500)]
    balancer, orders = fleet(*nodes, auto_rebalance=auto)
    balancer.report(report("n3", clients=500, stopping=True), 1.0)
    assert not orders.automatic(1.0)
    assert orders.rebalance(1.0)
    for name, clients in (("n1", 100), ("n2", 0)):
        balancer.report(report(name, clients=clients), 40.0)
    assert bool(orders.automatic(40.0)) is auto
