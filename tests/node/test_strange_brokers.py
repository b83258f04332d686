"""A program that does not answer as a broker does: the node goes on with its other brokers."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest
import zmq

from support.cluster import RawClient, cluster, fleet
from support.waiting import MS, eventually


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_impossible_port_of_a_broker(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """ZeroMQ raises errors for some of these ports; the node must not fail."""
    with cluster(0) as running, zmq.Context() as context, closing(context.socket(zmq.ROUTER)) as strange:
        strange.linger = 0
        address = f"127.0.0.1:{strange.bind_to_random_port('tcp://127.0.0.1')}"
        running.add_node("n1", brokers=(running.address, address))
        assert strange.poll(int(5000 * MS * 1000))
        *way, _ = strange.recv_multipart()
        described = {"type": "described", "broker": "b", "reports": port, "feed": 1, "protocol": "1.0", "version": ""}
        strange.send_multipart([*way, msgspec.msgpack.encode(described)])
        eventually(lambda: "does not answer as a broker does" in caplog.text)
        with RawClient(running.address, "ada"):
            eventually(lambda: fleet(running.address).nodes[0].report.clients == 1)
