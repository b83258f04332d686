"""The commands `drain` and `rebalance`, on a real broker, with nodes that are only reports."""

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
    monkeypatch.setattr(orders, "_LOOK", 20 * MS)
    yield service.address
    service.stop()


@dataclass
class Puppets:
    """Nodes whose reports are published every few milliseconds, and changed by a function as orders come."""

    broker: str
    reports: dict[str, Report]
    obey: Callable[[dict[str, Report], Order], None]
    told: list[Order] = field(default_factory=list)
    listening: Event = field(default_factory=Event)
    over: Event = field(default_factory=Event)

    def run(self) -> None:
        """Report, listen, obey, until it is over."""
        _, described = ask([self.broker], Describe())
        assert isinstance(described, Described)
        host, _ = parse_address(self.broker)
        with publisher(self.broker) as mouth, zmq.Context() as context, context.socket(zmq.SUB) as ear:
            for topic in (b"order.", b"roster"):
                ear.subscribe(topic)
            ear.connect(endpoint(host, described.feed))
            while not self.over.is_set():
                if ear.poll(int(20 * 1000 * MS)):
                    said = decode_feed(ear.recv_multipart()[1])
                    self.listening.set()
                    if isinstance(said, Order):
                        self.told.append(said)
                        self.obey(self.reports, said)
                mouth.publish(*self.reports.values())


@contextmanager
def puppets(broker: str, obey: Callable[[dict[str, Report], Order], None], *reports: Report) -> Iterator[Puppets]:
    """Put such nodes into the fleet."""
    with publisher(broker) as mouth:
        for each in reports:
            mouth.enroll(each)
    nodes = Puppets(broker, {each.node: each for each in reports}, obey)
    thread = spawn("puppets", nodes.run)
    try:
        # The first roster shows that orders will come too.
        assert nodes.listening.wait(5000 * MS)
        yield nodes
    finally:
        nodes.over.set()
        join_all([thread], 5000 * MS)


def ignore(reports: dict[str, Report], order: Order) -> None:
    """Do nothing of what one is told."""


def leave(reports: dict[str, Report], order: Order) -> None:
    """Say that one drains, then, told again or not, be gone."""
    reports[order.node] = make_report(order.node, clients=0, draining=True, stopping=True)


def move(reports: dict[str, Report], order: Order) -> None:
    """Have the clients elsewhere at once, and say that one did."""
    if order.id in reports[order.node].orders:
        return
    for each in order.moves:
        for node, change in ((order.node, -each.clients), (each.to, each.clients)):
            old = reports[node]
            reports[node] = make_report(node, clients=old.clients + change, capacity=old.capacity, orders=[order.id])


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails, and return its one line."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("parlour: ")
    assert err.count("\n") == 1
    return err


def test_drain(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The node is told, and the command ends when it has left, with one line."""
    with puppets(broker, leave, make_report("n1", clients=40), make_report("n2")) as nodes:
        assert main(["drain", "n1", "--deadline", "7"]) == 0
    assert capsys.readouterr() == ("n1 drained: 40 clients moved\n", "")
    assert (nodes.told[0].node, nodes.told[0].drain, nodes.told[0].deadline) == ("n1", True, 7.0)


@pytest.mark.usefixtures("broker")
def test_drain_of_a_stranger(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that is not there is told in one line that names those that are."""
    with publisher(broker) as mouth:
        mouth.enroll(make_report("n2"))
        assert "no node named 'n1' in the fleet; its nodes: n2" in failure(capsys, "drain", "n1")


def test_drain_of_the_last_node(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Clients that could go nowhere are not cut off: the order is not given."""
    with puppets(broker, leave, make_report("n1", clients=40), make_report("n2", draining=True)) as nodes:
        assert "no node except n1 can take its 40 clients: start another node first" in failure(capsys, "drain", "n1")
    assert nodes.told == []


def test_drain_that_nobody_follows(
    broker: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stays is told in one line, after the deadline and a little more."""
    monkeypatch.setattr(orders, "_SPARE", 300 * MS)
    with puppets(broker, ignore, make_report("n1", clients=40), make_report("n2")) as nodes:
        err = failure(capsys, "drain", "n1", "--deadline", "0")
    assert "n1 is there still after 0.3 s, with 40 clients, and it never began to drain" in err
    assert len(nodes.told) > 1


def test_drain_that_leaves_some_behind(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A node whose last word counts clients has cut them off, which is a failure."""

    def cut(reports: dict[str, Report], order: Order) -> None:
        reports["n1"] = make_report("n1", clients=3, draining=True, stopping=True)

    with puppets(broker, cut, make_report("n1", clients=40), make_report("n2")):
        assert "n1 stopped with 3 of its 40 clients not moved" in failure(capsys, "drain", "n1")


def test_drain_that_ends_in_silence(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that dies amid its drain has moved nobody knows how many."""

    def die(reports: dict[str, Report], order: Order) -> None:
        reports.pop("n1", None)

    with puppets(broker, die, make_report("n1", clients=1, interval=50 * MS), make_report("n2")):
        assert "n1 fell silent while it drained, with 1 client: was it killed?" in failure(capsys, "drain", "n1")


class Restarted:
    """A broker in whose life something happens before each look at the fleet, in this order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Report | str) -> None:
        self.address = f"127.0.0.1:{free_ports()}"
        self._events = list(events)
        self._start()
        monkeypatch.setattr(orders, "_LOOK", 20 * MS)
        monkeypatch.setattr(orders, "ask_fleet", self._look)

    def _start(self) -> None:
        self.service = Broker(BrokerSettings(bind=self.address))
        self.service.start()

    def enroll(self, *reports: Report) -> None:
        """Have the nodes in the fleet."""
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
    """Return a report of a node that need not report again in the time of a test."""
    return make_report(node, interval=60.0, **fields)


def test_drain_while_a_broker_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it does not list the node yet is no sign that the node has left; what it hears then is."""
    more = (slow(clients=12, draining=True), slow(draining=True, stopping=True))
    broker = Restarted(monkeypatch, "", "", "restart", "", *more)
    broker.enroll(slow(clients=40), slow("n2"))
    heard: list[int] = []
    try:
        assert orders.drain([broker.address], "n1", 60.0, heard.append) == 40
    finally:
        broker.service.stop()
    assert heard == [40, 12]


def test_drain_whose_end_no_broker_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that left while the broker was away may have cut off as many as it had when last heard of."""
    monkeypatch.setattr(orders, "_SETTLE", 300 * MS)
    monkeypatch.setattr(orders, "_MISSED", 0)
    broker = Restarted(monkeypatch, "", slow(clients=12), "restart")
    broker.enroll(slow(clients=40), slow("n2"))
    try:
        with pytest.raises(ParlourError, match="n1 left unheard, and had 12 of its 40 clients before"):
            orders.drain([broker.address], "n1", 60.0, lambda _: None)
    finally:
        broker.service.stop()


def test_rebalance_while_a_broker_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet that it does not know yet, or only in part, is not an even one."""
    broker = Restarted(monkeypatch, "", "", "restart", "", slow(clients=40), "", slow("n2", clients=40))
    broker.enroll(slow(clients=60), slow("n2", clients=20))
    try:
        done = orders.rebalance([broker.address], plan=False)
    finally:
        broker.service.stop()
    assert (done.before, done.after) == (1.5, 1.0)
    assert len(broker.service._balancer) == 2


def test_rebalance_plan(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan is a table of moves, or an object, and moves nobody."""
    with puppets(broker, move, make_report("n1", clients=60), make_report("n2", clients=20)) as nodes:
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
    assert nodes.told == []


def test_rebalance(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends when the nodes report that all have moved; asked again there is nothing to do."""
    with puppets(broker, move, make_report("n1", clients=60, capacity=100), make_report("n2", capacity=200)):
        assert main(["rebalance"]) == 0
        out = capsys.readouterr().out
        assert out.endswith("imbalance 3.00 before, 1.00 after\n")
        assert ["n1", "n2", "40"] in [line.split() for line in out.splitlines()]
        assert main(["rebalance"]) == 0
        assert capsys.readouterr().out == "nothing to move: imbalance 1.00\n"
        assert main(["rebalance", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["moves"] == []


def test_rebalance_that_nobody_follows(
    broker: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moves that are not seen in time are a failure of one line."""
    monkeypatch.setattr(orders, "_SPAN", 300 * MS)
    with puppets(broker, ignore, make_report("n1", clients=60), make_report("n2")):
        err = failure(capsys, "rebalance")
    assert "not all clients had moved" in err
    assert "imbalance 2.00 before, 2.00 now" in err
