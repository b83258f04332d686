"""The commands `drain` and `rebalance`, on a real broker, with simulated nodes that only send reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest
import zmq

from parlour.broker import Broker, BrokerSettings
from parlour.cli import main
from parlour.monitor import orders
from parlour.monitor.feed import ask_fleet
from parlour.runtime.addresses import endpoint
from parlour.runtime.broker_rpc import ask
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import decode_feed
from parlour.wire.control import Describe, Described, Enroll, FleetStatus, Order, Report
from parlour.wire.errors import ParlourError
from parlour.wire.limits import parse_address
from support.ports import free_ports
from support.reports import make_report, publisher
from support.waiting import MS


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a broker, and have the commands find it."""
    service = Broker(BrokerSettings(bind="127.0.0.1:0"))
    service.start()
    monkeypatch.setenv("PARLOUR_BROKER", service.address)
    monkeypatch.setattr(orders, "POLL_INTERVAL", 20 * MS)
    yield service.address
    service.stop()


@dataclass
class FakeNodes:
    """Nodes that publish a report every few milliseconds; a function changes the reports when an order comes."""

    broker: str
    reports: dict[str, Report]
    carry_out: Callable[[dict[str, Report], Order], None]
    orders: list[Order] = field(default_factory=list)
    listening: Event = field(default_factory=Event)
    over: Event = field(default_factory=Event)

    def run(self) -> None:
        """Publish reports and carry out orders until the test is over."""
        _, described = ask([self.broker], Describe())
        assert isinstance(described, Described)
        host, _ = parse_address(self.broker)
        with publisher(self.broker) as publishing, zmq.Context() as context, context.socket(zmq.SUB) as feed:
            for topic in (b"order.", b"roster"):
                feed.subscribe(topic)
            feed.connect(endpoint(host, described.feed))
            while not self.over.is_set():
                if feed.poll(int(20 * 1000 * MS)):
                    publication = decode_feed(feed.recv_multipart()[1])
                    self.listening.set()
                    if isinstance(publication, Order):
                        self.orders.append(publication)
                        self.carry_out(self.reports, publication)
                publishing.publish(*self.reports.values())


@contextmanager
def fake_nodes(
    broker: str, carry_out: Callable[[dict[str, Report], Order], None], *reports: Report
) -> Iterator[FakeNodes]:
    """Run nodes with these reports in the fleet."""
    with publisher(broker) as publishing:
        for each in reports:
            publishing.enroll(each)
    nodes = FakeNodes(broker, {each.node: each for each in reports}, carry_out)
    thread = spawn("fake-nodes", nodes.run)
    try:
        # The first list of nodes shows that orders will come, too.
        assert nodes.listening.wait(5000 * MS)
        yield nodes
    finally:
        nodes.over.set()
        join_all([thread], 5000 * MS)


def ignore(reports: dict[str, Report], order: Order) -> None:
    """Do not carry out the order."""


def leave(reports: dict[str, Report], order: Order) -> None:
    """Leave the fleet after a drain."""
    reports[order.node] = make_report(order.node, clients=0, draining=True, stopping=True)


def move(reports: dict[str, Report], order: Order) -> None:
    """Move the clients at once, and report the order as done."""
    if order.id in reports[order.node].orders:
        return
    for each in order.moves:
        for node, change in ((order.node, -each.clients), (each.to, each.clients)):
            old = reports[node]
            reports[node] = make_report(node, clients=old.clients + change, capacity=old.capacity, orders=[order.id])


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails, and return the line that it prints."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("parlour: ")
    assert err.count("\n") == 1
    return err


def test_drain(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The node gets the order; the command prints one line when the node has left."""
    with fake_nodes(broker, leave, make_report("n1", clients=40), make_report("n2")) as nodes:
        assert main(["drain", "n1", "--deadline", "7"]) == 0
    assert capsys.readouterr() == ("n1 drained: 40 clients moved\n", "")
    assert (nodes.orders[0].node, nodes.orders[0].drain, nodes.orders[0].deadline) == ("n1", True, 7.0)


@pytest.mark.usefixtures("broker")
def test_drain_of_an_unknown_node(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says that the node is not in the fleet, and names the nodes that are."""
    with publisher(broker) as publishing:
        publishing.enroll(make_report("n2"))
        assert "no node named 'n1' in the fleet; its nodes: n2" in failure(capsys, "drain", "n1")


def test_drain_of_the_last_node(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The broker refuses to drain the last node, whose clients have no other node."""
    with fake_nodes(broker, leave, make_report("n1", clients=40), make_report("n2", draining=True)) as nodes:
        assert "no node except n1 can take its 40 clients: start another node first" in failure(capsys, "drain", "n1")
    assert nodes.orders == []


def test_drain_of_a_node_that_stays(
    broker: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says that the node is still there after the deadline and a little more."""
    monkeypatch.setattr(orders, "STOP_TIME", 300 * MS)
    with fake_nodes(broker, ignore, make_report("n1", clients=40), make_report("n2")) as nodes:
        err = failure(capsys, "drain", "n1", "--deadline", "0")
    assert "n1 is still there after 0.3 s, with 40 clients, and never began to drain" in err
    assert len(nodes.orders) > 1


def test_drain_that_leaves_some_behind(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails if the last report of the node still counts clients, because they were cut off."""

    def cut(reports: dict[str, Report], order: Order) -> None:
        reports["n1"] = make_report("n1", clients=3, draining=True, stopping=True)

    with fake_nodes(broker, cut, make_report("n1", clients=40), make_report("n2")):
        assert "n1 stopped with 3 of its 40 clients not moved" in failure(capsys, "drain", "n1")


def test_drain_that_ends_in_silence(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails if the node dies during its drain."""

    def die(reports: dict[str, Report], order: Order) -> None:
        reports.pop("n1", None)

    with fake_nodes(broker, die, make_report("n1", clients=1, interval=500 * MS), make_report("n2")):
        assert "n1 fell silent while it drained, with 1 client: was it killed?" in failure(capsys, "drain", "n1")


class Restarted:
    """A broker that restarts, or gets a report, before a given look at the fleet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Report | str) -> None:
        self.address = f"127.0.0.1:{free_ports()}"
        self._events = list(events)
        self._start()
        monkeypatch.setattr(orders, "POLL_INTERVAL", 20 * MS)
        monkeypatch.setattr(orders, "ask_fleet", self._look)

    def _start(self) -> None:
        self.service = Broker(BrokerSettings(bind=self.address))
        self.service.start()

    def enroll(self, *reports: Report) -> None:
        """Put the nodes into the fleet."""
        for report in reports:
            ask([self.address], Enroll(report))

    def _look(self, brokers: Sequence[str]) -> tuple[str, FleetStatus]:
        event = self._events.pop(0) if self._events else ""
        if isinstance(event, Report):
            self.enroll(event)
        elif event == "restart":
            self.service.stop()
            self._start()
        return ask_fleet(brokers)


def slow(node: str = "n1", **fields: Any) -> Report:
    """Return a report with an interval longer than the test."""
    return make_report(node, interval=60.0, **fields)


def test_drain_while_a_broker_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just started does not list the node yet; the drain waits for its next report."""
    more = (slow(clients=12, draining=True), slow(draining=True, stopping=True))
    broker = Restarted(monkeypatch, "", "", "restart", "", *more)
    broker.enroll(slow(clients=40), slow("n2"))
    heard: list[int] = []
    try:
        assert orders.drain([broker.address], "n1", 60.0, heard.append) == 40
    finally:
        broker.service.stop()
    assert heard == [40, 12]


def test_drain_that_ends_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that left while the broker was away may have cut off its clients, so the command fails."""
    monkeypatch.setattr(orders, "SETTLE_TIME", 300 * MS)
    monkeypatch.setattr(orders, "SETTLE_REPORTS", 0)
    broker = Restarted(monkeypatch, "", slow(clients=12), "restart")
    broker.enroll(slow(clients=40), slow("n2"))
    try:
        with pytest.raises(ParlourError, match="n1 left while no broker heard it, with 12 of its 40 clients"):
            orders.drain([broker.address], "n1", 60.0, lambda _: None)
    finally:
        broker.service.stop()


def test_rebalance_while_a_broker_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that knows no node yet, or only some, does not end the rebalance."""
    broker = Restarted(monkeypatch, "", "", "restart", "", slow(clients=40), "", slow("n2", clients=40))
    broker.enroll(slow(clients=60), slow("n2", clients=20))
    try:
        done = orders.rebalance([broker.address], plan=False)
    finally:
        broker.service.stop()
    assert (done.before, done.after) == (1.5, 1.0)
    assert len(broker.service._balancer) == 2


def test_rebalance_plan(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--plan` prints the moves as a table or as JSON, and moves no client."""
    with fake_nodes(broker, move, make_report("n1", clients=60), make_report("n2", clients=20)) as nodes:
        assert main(["rebalance", "--plan"]) == 0
        table = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert table == [["from", "to", "clients"], ["n1", "n2", "20"], ["imbalance", "1.50"]]
        assert main(["rebalance", "--plan", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "broker": broker,
            "plan": True,
            "moves": [{"from": "n1", "to": "n2", "clients": 20}],
            "before": 1.5,
            "after": None,
        }
    assert nodes.orders == []


def test_rebalance(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends when the nodes report that all clients have moved; a second one finds no move."""
    with fake_nodes(broker, move, make_report("n1", clients=60, capacity=100), make_report("n2", capacity=200)):
        assert main(["rebalance"]) == 0
        out = capsys.readouterr().out
        assert out.endswith("imbalance 3.00 before, 1.00 after\n")
        assert ["n1", "n2", "40"] in [line.split() for line in out.splitlines()]
        assert main(["rebalance"]) == 0
        assert capsys.readouterr().out == "nothing to move: imbalance 1.00\n"
        assert main(["rebalance", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["moves"] == []


def test_rebalance_without_moves(
    broker: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reports do not show the moves in time, one line says so."""
    monkeypatch.setattr(orders, "BASE_TIME", 300 * MS)
    with fake_nodes(broker, ignore, make_report("n1", clients=60), make_report("n2")):
        err = failure(capsys, "rebalance")
    assert "not all clients had moved" in err
    assert "imbalance 2.00 before, 2.00 now" in err
