"""The times at which brokers told clients where to go: before that a client cannot come back.

This module owns a subscription to the feeds of all brokers, on a thread of its own; other threads read the times after
it has stopped. It must never hold up a broker: what it misses is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from parlour.runtime.addresses import answers_on_ipv6, endpoint
from parlour.runtime.broker_rpc import ask
from parlour.runtime.threads import Service
from parlour.runtime.zeromq import new_socket, shared_context
from parlour.wire.codec import decode_feed
from parlour.wire.control import Decision, Describe, Described
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import parse_address

__all__ = ["AssignmentListener"]

HIGH_WATER = 100_000
"""Publications that may wait: when all clients come back at once, there are two or three for each."""


class AssignmentListener(Service):
    """Listens to the brokers between `start` and `stop`. Its thread makes, uses and closes the SUB socket.

    Attributes:
        times: when brokers sent each client to a node, by the client's name, in seconds since the Unix epoch.
    """

    def __init__(self, brokers: Sequence[str]) -> None:
        super().__init__("assignments")
        self.times: dict[str, list[float]] = {}
        self._brokers = brokers

    def __enter__(self) -> AssignmentListener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self) -> None:
        """Note each decision that names a node; raises as `ask` does, before it is ready."""
        with new_socket(shared_context(), zmq.SUB) as socket:
            socket.linger = 0
            socket.rcvhwm = HIGH_WATER
            socket.subscribe(b"decision")
            for broker in self._brokers:
                _, described = ask([broker], Describe())
                if isinstance(described, Described):
                    host, _ = parse_address(broker)
                    socket.ipv6 = answers_on_ipv6(host, described.feed)
                    socket.connect(endpoint(host, described.feed))
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(self.wakeup, zmq.POLLIN)
            self.ready()
            while not self.stopping:
                if (socket, zmq.POLLIN) in poller.poll():
                    self._note(socket.recv_multipart()[-1])

    def _note(self, body: bytes) -> None:
        try:
            decision = decode_feed(body)
        except ProtocolError:
            return
        if isinstance(decision, Decision) and decision.node is not None:
            self.times.setdefault(decision.name, []).append(decision.at / 1000)
