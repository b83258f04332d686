"""How a client reaches a node through several brokers, and what it says when it cannot."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from parlour.client import (
    DeadlineError,
    Disconnected,
    NodeError,
    ParlourError,
    ProtocolError,
    UnavailableError,
    connect,
)
from parlour.client.dialing import dial_cluster
from parlour.node.clients import tickets
from parlour.runtime import broker_rpc
from parlour.runtime.broker_rpc import RefusedError
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import encode
from parlour.wire.control import Refused
from parlour.wire.messages import Hello
from support.cluster import Cluster
from support.waiting import eventually

STORM = encode(Refused("storm", "this one's turn is in a moment", 0.05))


class Stormy:
    """A broker that gives all clients a turn that never comes; its thread makes, uses and closes its ROUTER."""

    def __init__(self) -> None:
        self.asked = 0
        self.address = ""
        self.ready, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        """Refuse until it is over."""
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            self.address = f"127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
            self.ready.set()
            while not self.over.is_set():
                if router.poll(20):
                    identity, _ = router.recv_multipart()
                    self.asked += 1
                    router.send_multipart([identity, STORM])


@contextmanager
def stormy(count: int) -> Iterator[list[Stormy]]:
    """Run this number of such brokers."""
    brokers = [Stormy() for _ in range(count)]
    threads = [spawn("stormy", broker.run) for broker in brokers]
    try:
        for broker in brokers:
            assert broker.ready.wait(10)
        yield brokers
    finally:
        for broker in brokers:
            broker.over.set()
        join_all(threads, 5)


@contextmanager
def web_server() -> Iterator[str]:
    """Run a server that answers unknown requests as web servers do; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                peer, _ = server.accept()
                with peer:
                    if not peer.recv(1 << 16):
                        return
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = spawn("web-server", serve)
        yield f"127.0.0.1:{server.getsockname()[1]}"
        socket.create_connection(server.getsockname()).close()
        join_all([thread], 5)


@pytest.fixture
def unused() -> Iterator[str]:
    """Yield an address on which no program listens or can listen meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


class Ahead:
    """The clock of a node that is a minute ahead."""

    @staticmethod
    def time() -> float:
        """Return the time in a minute."""
        return time.time() + 60


def refusal(broker: str, kind: type[ParlourError]) -> str:
    """Return the error of a client that no node accepts."""
    with pytest.raises(kind) as told:
        connect(broker, "ada", timeout=3.0)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_the_error_names_the_node_and_the_reason(
    empty_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, unused: str
) -> None:
    """The broker knows only that the client failed; the client knows the reason."""
    node = empty_cluster.add_node("n1")
    with monkeypatch.context() as wrong:
        wrong.setattr(tickets, "time", Ahead)
        told = refusal(empty_cluster.address, NodeError)
    assert told.startswith(f"n1 at {node.address} says: the ticket has expired, or the clock here differs")
    node.stop()
    dead = empty_cluster.add_node("n2", advertise=unused)
    told = refusal(empty_cluster.address, DeadlineError)
    assert told.endswith(f"n2 cannot be reached at {unused} (Connection refused)")
    dead.stop()
    with web_server() as address:
        empty_cluster.add_node("n3", advertise=address)
        told = refusal(empty_cluster.address, ProtocolError)
        assert told.startswith(f"no parlour node answers at {address}, the address of n3 (")
        assert "b'HTTP'" in told


def test_a_wrong_address_of_a_node_is_passed_over(empty_cluster: Cluster) -> None:
    """The broker is asked for another node."""
    with web_server() as address:
        empty_cluster.add_node("n1", advertise=address)
        empty_cluster.add_node("n2")
        for number in range(2):
            assert empty_cluster.chat(f"bot-{number}").node == "n2"


def test_a_chat_that_gives_up_tells_why(cluster: Cluster, unused: str) -> None:
    """The last event has the error of the last attempt, with the node and the address."""
    with connect(cluster.address, "ada", give_up=1.0) as ada:
        room = ada.join("lobby")
        cluster.add_node("n3", advertise=unused)
        for node in cluster.nodes[:2]:
            node.stop()
        *_, last = room.events(20)
        assert isinstance(last, Disconnected)
        assert f"no other was found within 1 s: n3 cannot be reached at {unused}" in last.reason


def test_another_server_in_place_of_a_broker() -> None:
    """ZeroMQ itself reports nothing, and tries again and again."""
    with web_server() as address:
        told = refusal(address, UnavailableError)
    assert told == (
        f"no broker answers at {address}: what answers at {address} is no parlour broker: name another with --broker"
    )


def test_a_turn_is_taken_where_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `storm` a client asks the same broker again, as the others know nothing of the turn."""
    monkeypatch.setattr(broker_rpc, "_HEDGE", 10.0)
    with stormy(3) as brokers:
        with pytest.raises(RefusedError, match="turn"):
            dial_cluster([broker.address for broker in brokers], Hello("ada", ""), None, 4.0)
        # When the time is nearly over, the others are asked soon, too.
        assert max(broker.asked for broker in brokers) >= sum(broker.asked for broker in brokers) - 1 >= 4


def test_a_chat_comes_back_in_its_turn(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat that lost its node keeps asking the broker that gave it a turn, and another one when that is gone."""
    monkeypatch.setattr(broker_rpc, "_HEDGE", 1.0)
    ada = cluster.chat("ada")
    with stormy(2) as brokers:
        ada._reconnector._brokers = [broker.address for broker in brokers]
        for node in cluster.nodes:
            node.stop()
        eventually(lambda: sum(broker.asked for broker in brokers) >= 4)
        mine, other = sorted(brokers, key=lambda broker: broker.asked, reverse=True)
        assert other.asked == 0
        mine.over.set()
        eventually(lambda: other.asked >= 2)
        ada.close()
