"""The load feed, with which a broker publishes the state of its nodes, and questions to a broker about its fleet.

This module owns the SUB socket on a broker's feed; only the thread that enters a `LoadFeed` uses and closes it. It
must never wait without a deadline, nor fail because of one publication that it cannot read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import zmq

from parlour.runtime.addresses import answers_on_ipv6, endpoint
from parlour.runtime.broker_rpc import ask
from parlour.runtime.zeromq import new_socket, shared_context
from parlour.wire.codec import decode_feed
from parlour.wire.control import Decision, Decisions, Describe, Described, FleetStatus, NodeList, Report, Status, Why
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import parse_address

__all__ = ["LoadFeed", "ask_decisions", "ask_fleet"]

HIGH_WATER = 10_000
"""Publications that wait for a slow monitor at most. Further ones are dropped: they are soon out of date anyway."""


def ask_fleet(brokers: Sequence[str], timeout: float = 3.0) -> tuple[str, FleetStatus]:
    """Return the first broker that answers within `timeout` seconds, and its view of the fleet.

    Raises UnavailableError if none answers.
    """
    broker, reply = ask(brokers, Status(), timeout)
    if not isinstance(reply, FleetStatus):
        raise _unexpected(broker, reply)
    return broker, reply


def ask_decisions(brokers: Sequence[str], subject: str, timeout: float = 3.0) -> list[Decision]:
    """Return the decisions about a client or room of this name, newest first, from the first broker that answers.

    Raises UnavailableError if none answers.
    """
    broker, reply = ask(brokers, Why(subject), timeout)
    if not isinstance(reply, Decisions):
        raise _unexpected(broker, reply)
    return reply.found


def _unexpected(broker: str, reply: object) -> ProtocolError:
    return ProtocolError(
        f"{broker} answered with {type(reply).__name__}, which does not fit the question: update parlour there"
    )


class LoadFeed:
    """The feed of the first broker that answers: a context manager for one thread.

    When that broker stops and starts again, ZeroMQ connects again by itself and the feed goes on.

    Attributes:
        broker: the address of that broker, once the feed is entered.
    """

    def __init__(self, brokers: Sequence[str], timeout: float = 3.0) -> None:
        self.broker = ""
        self._brokers = brokers
        self._timeout = timeout

    def __enter__(self) -> LoadFeed:
        """Ask a broker for the port of its feed and subscribe; raises UnavailableError if no broker answers in time."""
        self.broker, described = ask(self._brokers, Describe(), self._timeout)
        if not isinstance(described, Described):
            raise _unexpected(self.broker, described)
        host, _ = parse_address(self.broker)
        self._socket = new_socket(shared_context(), zmq.SUB)
        self._socket.linger = 0
        self._socket.rcvhwm = HIGH_WATER
        self._socket.ipv6 = answers_on_ipv6(host, described.feed)
        self._socket.subscribe(b"report.")
        self._socket.subscribe(b"roster")
        self._socket.connect(endpoint(host, described.feed))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self, timeout: float) -> Report | NodeList | None:
        """Return the next report or list of nodes; None if none has come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._socket.poll(max(0, round((deadline - time.monotonic()) * 1000))):
            try:
                _, body = self._socket.recv_multipart()
                publication = decode_feed(body)
            except (ProtocolError, ValueError):
                # A broker of a later version may publish messages that this version does not know.
                continue
            if isinstance(publication, Report | NodeList):
                return publication
        return None

    def reports(self, timeout: float) -> Iterator[Report]:
        """Yield each report when it comes; end when none has come for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            publication = self.receive(left)
            if isinstance(publication, Report):
                yield publication
                deadline = time.monotonic() + timeout
