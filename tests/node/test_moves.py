"""Moves of clients: when the node drains, and when a broker rebalances the load."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

import parlour.node.clients.migration
import parlour.node.cluster.brokers
from parlour.broker import Broker, BrokerSettings
from parlour.broker.orders import Orders
from parlour.node import NodeSettings
from parlour.runtime.broker_rpc import ask
from parlour.runtime.threads import join_all, spawn
from parlour.wire.control import Order, Rebalance, Report, Transfer
from parlour.wire.messages import Bye, Join, Joined, Members, Message, Move, Presence
from support.cluster import Cluster, RawClient, cluster, fleet
from support.ports import free_ports
from support.waiting import MS, eventually, poll


def check_not_moved(clients: list[RawClient]) -> None:
    """Check that none of these clients is asked to move, now or soon."""
    poll(lambda: False, 0.3)
    for client in clients:
        client.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.get(Move)


def test_drain_moves_clients_unnoticed() -> None:
    """The client joins at its new node before it leaves the old one; the broker sends no client to the old one."""
    settings = NodeSettings(presence_interval=10 * MS)
    with cluster(2, settings) as running, running.clients("idler", room="lobby") as (idler,):
        watcher = RawClient(running.address, "watcher", "n2")
        watcher.join("lobby")
        ada = RawClient(running.address, "ada", "n1", key="ada's")
        ada.join("lobby")
        while "ada" not in watcher.get(Presence).joined:
            pass
        ada.say("lobby", "before")
        assert watcher.get(Message).text == "before"
        ada.get(Message)
        node = running.nodes[0]
        drain = spawn("drain", node.drain, 20_000 * MS)
        move = ada.get(Move)
        assert move.node == "n2"
        eventually(lambda: [n.report.draining for n in fleet(running.address).nodes] == [True, False])
        new = ada.follow(move, "ada's")
        new.send(Join("lobby", after=1))
        assert new.get(Joined).after == 1
        new.get(Members)
        assert new.session == ada.session
        ada.send(Bye())
        ada.close()
        new.say("lobby", "one", "after")  # id 1 was used before: that post is acknowledged and not logged again
        assert watcher.get(Message).text == "after"
        poll(lambda: False, 0.1)
        assert not [heard for heard in watcher.heard if isinstance(heard, Presence)]
        with RawClient(running.address, "newcomer") as newcomer:
            assert newcomer.node == "n2"
        idler.close()
        join_all([drain], 20)
        for client in (new, watcher):
            client.close()


def test_brokers_know_a_drain_before_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a broker would take the request for another node, in a client's name, as a sign that this node died."""
    said: list[Report | str] = []

    def report(stopping: bool) -> Report:
        made = node._report(stopping)
        said.append(made)
        return made

    def move(*_: object) -> bool:
        said.append("move")
        return True

    monkeypatch.setattr(parlour.node.cluster.brokers, "MIN_INTERVAL", 500 * MS)
    monkeypatch.setattr(parlour.node.clients.migration, "REPORT_TIMEOUT", 20_000 * MS)
    with cluster(1) as running, running.clients("ada") as (ada,):
        node = running.nodes[0]
        monkeypatch.setattr(node._migration._mover, "move", move)
        monkeypatch.setattr(node._fleet, "_report", report)
        node._fleet.report_soon()
        eventually(lambda: said)
        drain = spawn("drain", node.drain, 20_000 * MS)
        eventually(lambda: "move" in said)
        before = said[said.index("move") - 1]
        assert isinstance(before, Report)
        assert before.draining
        ada.close()
        join_all([drain], 20)


def test_drain_survives_a_broker_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients move once a broker is back and knows the other node."""
    monkeypatch.setattr(parlour.node.clients.migration, "NO_TARGET_TIMEOUT", 20_000 * MS)
    settings = BrokerSettings(bind=f"127.0.0.1:{free_ports()}")
    with ExitStack() as closing:
        first, second = Broker(settings), Broker(settings)
        first.start()
        closing.callback(first.stop)
        running = Cluster(first, NodeSettings(log="memory://a-drain"), closing)
        node = running.add_node("n1")
        running.add_node("n2")
        eventually(running.acquainted)
        ada = closing.enter_context(RawClient(first.address, "ada", "n1"))
        first.stop()
        drain = spawn("drain", node.drain, 60)
        assert not poll(lambda: not drain.is_alive(), 1.5)
        second.start()
        closing.callback(second.stop)
        assert ada.get(Move).node == "n2"
        ada.close()
        join_all([drain], 20)


def test_drain_without_a_broker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain ends long before its deadline if the broker is away for good."""
    monkeypatch.setattr(parlour.node.clients.migration, "NO_TARGET_TIMEOUT", 300 * MS)
    with cluster(2) as running, running.clients("ada"):
        running.broker.stop()
        join_all([spawn("drain", running.nodes[0].drain, 60)], 20)


def test_drain_of_the_last_node_ends() -> None:
    """The drain ends at once if there is no other node."""
    with cluster(1) as running, running.clients("ada", room="lobby"):
        join_all([spawn("drain", running.nodes[0].drain, 60)], 5)


def test_order_moves_the_latest_clients() -> None:
    """Of five clients, only the two that came last are asked to go to the named node."""
    with cluster(3) as running:
        clients = [RawClient(running.address, f"client-{n}", "n1") for n in range(5)]
        node = running.nodes[0]
        node._migration.hear_order(Order("n1", node.instance, moves=[Transfer("n3", 2)]))
        assert [client.get(Move).node for client in clients[3:]] == ["n3", "n3"]
        check_not_moved(clients[:3])
        for client in clients:
            client.close()


def test_lost_order_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a rebalance is lost at first: it still moves the surplus, and only once."""
    with cluster(2, NodeSettings(report_interval=0.1)) as running:
        clients = [RawClient(running.address, f"client-{n}", "n1") for n in range(6)]
        eventually(lambda: [state.report.clients for state in fleet(running.address).nodes] == [6, 0])
        with monkeypatch.context() as deaf:
            deaf.setattr(Broker, "_publish_orders", lambda *_, **__: None)
            ask([running.address], Rebalance())
        assert [client.get(Move).node for client in clients[3:]] == ["n2"] * 3
        check_not_moved(clients[:3])
        for client in clients:
            client.close()


def test_order_is_followed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker repeats an order, and a second broker gives another one meanwhile: the node follows one order."""
    with cluster(2, NodeSettings(report_interval=0.1)) as running:
        node = running.nodes[0]
        clients = [RawClient(running.address, f"client-{n}", "n1") for n in range(6)]
        order = Order("n1", node.instance, moves=[Transfer("n2", 2)], id="b-1")
        monkeypatch.setattr(Orders, "unfollowed", lambda *_: order)
        assert [client.get(Move).node for client in clients[4:]] == ["n2", "n2"]
        assert node._migration._thread is not None
        join_all([node._migration._thread], 5)
        node._migration.hear_order(Order("n1", node.instance, moves=[Transfer("n2", 2)], id="c-1"))
        eventually(lambda: fleet(running.address).nodes[0].report.orders == ["b-1"])
        check_not_moved(clients[:4])
        for client in clients:
            client.close()


def test_client_that_stays_is_asked_again() -> None:
    """The node asks again once the ticket of its last request has expired."""
    with (
        cluster(2, broker=BrokerSettings(ticket_life=0.3)) as running,
        running.clients("ada", room="lobby") as (ada,),
    ):
        drain = spawn("drain", running.nodes[0].drain, 20_000 * MS)
        assert [ada.get(Move).node for _ in range(3)] == ["n2"] * 3
        ada.close()
        join_all([drain], 20)


def test_order_without_a_free_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node does not follow an order that comes then, but follows the next one."""
    with cluster(2) as running, running.clients("ada") as (ada,):
        node = running.nodes[0]
        order = Order("n1", node.instance, moves=[Transfer("n2", 1)])
        with monkeypatch.context() as crowded:
            crowded.setattr(threading.Thread, "start", no_thread)
            node._migration.hear_order(order)
        check_not_moved([ada])
        node._migration.hear_order(order)
        ada.socket.settimeout(5_000 * MS)
        assert ada.get(Move).node == "n2"


def no_thread(_: threading.Thread) -> None:
    """Fail to start a thread, as if the system had none left."""
    raise RuntimeError("can't start new thread")


def test_last_node_refuses_to_drain(caplog: pytest.LogCaptureFixture) -> None:
    """An older broker may give this order; to follow it would stop the cluster."""
    with cluster(1) as running, running.clients("ada") as (ada,):
        node = running.nodes[0]
        node._migration.hear_order(Order(node="n1", instance=node.instance, drain=True, deadline=1.0))
        assert "it is the last node: it goes on" in caplog.text
        assert node.stop_wanted.empty()
        ada.join("lobby")
        ada.say("lobby", "here we are")
        assert ada.texts(1) == ["here we are"]
