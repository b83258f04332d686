"""Clients are asked to move: when the node drains, and when a broker wants the load spread otherwise."""

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


def stay(clients: list[RawClient]) -> None:
    """None of these is asked to move, now or soon."""
    poll(lambda: False, 0.3)
    for client in clients:
        client.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.get(Move)


def test_a_drained_node_moves_its_clients_and_nobody_sees_them_leave() -> None:
    """The client is in the room at its new node before it leaves the old; the broker sends nobody to the old one."""
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
        new.say("lobby", "one", "after")  # id 1 was used before: it is acknowledged, not said again
        assert watcher.get(Message).text == "after"
        poll(lambda: False, 0.1)
        assert not [heard for heard in watcher.heard if isinstance(heard, Presence)]
        with RawClient(running.address, "newcomer") as newcomer:
            assert newcomer.node == "n2"
        idler.close()
        join_all([drain], 20)
        for client in (new, watcher):
            client.close()


def test_nobody_is_moved_before_the_brokers_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for another node in the clients' names, which means that this one died unless they know better."""
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


def test_a_drain_outlasts_its_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are moved once there is a broker again to say where to, which has heard of the other node."""
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


def test_a_drain_for_which_nobody_is_found_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before its deadline where the broker is away for good."""
    monkeypatch.setattr(parlour.node.clients.migration, "NO_TARGET_TIMEOUT", 300 * MS)
    with cluster(2) as running, running.clients("ada"):
        running.broker.stop()
        join_all([spawn("drain", running.nodes[0].drain, 60)], 20)


def test_the_last_node_has_nobody_to_move_to() -> None:
    """Draining ends at once where there is no other node, and so does the node."""
    with cluster(1) as running, running.clients("ada", room="lobby"):
        join_all([spawn("drain", running.nodes[0].drain, 60)], 5)


def test_an_order_moves_so_many_to_the_node_it_names() -> None:
    """Of five clients the two that came last are asked to go, to the node that is named; no others."""
    with cluster(3) as running:
        clients = [RawClient(running.address, f"client-{n}", "n1") for n in range(5)]
        node = running.nodes[0]
        node._migration.hear_order(Order("n1", node.instance, moves=[Transfer("n3", 2)]))
        assert [client.get(Move).node for client in clients[3:]] == ["n3", "n3"]
        stay(clients[:3])
        for client in clients:
            client.close()


def test_an_order_that_is_lost_is_carried_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance of which no word reaches the node at first moves the surplus, once."""
    with cluster(2, NodeSettings(report_interval=0.1)) as running:
        clients = [RawClient(running.address, f"client-{n}", "n1") for n in range(6)]
        eventually(lambda: [state.report.clients for state in fleet(running.address).nodes] == [6, 0])
        with monkeypatch.context() as deaf:
            deaf.setattr(Broker, "_publish_orders", lambda *_: None)
            ask([running.address], Rebalance())
        assert [client.get(Move).node for client in clients[3:]] == ["n2"] * 3
        stay(clients[:3])
        for client in clients:
            client.close()


def test_an_order_is_carried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one order that comes again and again, and another that a second broker gives meanwhile, one is followed."""
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
        stay(clients[:4])
        for client in clients:
            client.close()


def test_who_stays_is_asked_again() -> None:
    """A client that could not get in where it was sent is not left behind, once its ticket is of no use."""
    with (
        cluster(2, broker=BrokerSettings(ticket_life=0.3)) as running,
        running.clients("ada", room="lobby") as (ada,),
    ):
        drain = spawn("drain", running.nodes[0].drain, 20_000 * MS)
        assert [ada.get(Move).node for _ in range(3)] == ["n2"] * 3
        ada.close()
        join_all([drain], 20)


def test_a_node_without_a_thread_to_spare_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order to move clients is not followed then, and the next one is."""
    with cluster(2) as running, running.clients("ada") as (ada,):
        node = running.nodes[0]
        order = Order("n1", node.instance, moves=[Transfer("n2", 1)])
        with monkeypatch.context() as crowded:
            crowded.setattr(threading.Thread, "start", no_thread)
            node._migration.hear_order(order)
        stay([ada])
        node._migration.hear_order(order)
        ada.socket.settimeout(5_000 * MS)
        assert ada.get(Move).node == "n2"


def no_thread(_: threading.Thread) -> None:
    """Start a thread where the system has none left."""
    raise RuntimeError("can't start new thread")


def test_the_last_node_follows_no_order_to_drain(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does it where a broker, perhaps an older one, gives the order: the cluster would stop."""
    with cluster(1) as running, running.clients("ada") as (ada,):
        node = running.nodes[0]
        node._migration.hear_order(Order(node="n1", instance=node.instance, drain=True, deadline=1.0))
        assert "it is the last node: it goes on" in caplog.text
        assert node.stop_wanted.empty()
        ada.join("lobby")
        ada.say("lobby", "here we are")
        assert ada.texts(1) == ["here we are"]
