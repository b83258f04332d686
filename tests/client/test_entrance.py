"""The way in through several brokers: who gave a turn in a storm is the one to come back to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from parlour.client.entrance import enter
from parlour.runtime import asking
from parlour.runtime.asking import RefusedError
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import encode
from parlour.wire.control import Refused
from support.cluster import Cluster
from support.waiting import eventually

STORM = encode(Refused("storm", "this one's turn is in a moment", 0.05))


class Stormy:
    """A broker that gives everybody a turn that never comes; its thread makes, uses and closes its ROUTER."""

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
    """Run so many of them."""
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


def test_a_turn_is_taken_where_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again after `storm` asks the same broker, as the others know nothing of the turn."""
    monkeypatch.setattr(asking, "_HEDGE", 10.0)
    with stormy(3) as brokers:
        with pytest.raises(RefusedError, match="turn"):
            enter([broker.address for broker in brokers], "ada", None, 1.5)
        # When the time is nearly over, the others are asked soon, too.
        assert max(broker.asked for broker in brokers) >= sum(broker.asked for broker in brokers) - 1 >= 4


def test_a_chat_comes_back_in_its_turn(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat that lost its node goes on asking the broker that gave it a turn, and another when that is gone."""
    monkeypatch.setattr(asking, "_HEDGE", 1.0)
    ada = cluster.chat("ada")
    with stormy(2) as brokers:
        ada._keeper._brokers = [broker.address for broker in brokers]
        for node in cluster.nodes:
            node.stop()
        eventually(lambda: sum(broker.asked for broker in brokers) >= 4, 20)
        mine, other = sorted(brokers, key=lambda broker: broker.asked, reverse=True)
        assert other.asked == 0
        mine.over.set()
        eventually(lambda: other.asked >= 2, 20)
        ada.close()
