"""Requests to brokers: one request, one reply, one deadline; more brokers are asked until one answers.

This module owns the DEALER side of the broker's ROUTER. Each request opens its own sockets on the calling thread and
closes them before it returns, so that it leaves nothing behind and never takes a late reply for its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack

import zmq

from parlour.runtime.addresses import endpoint, ipv6_choices
from parlour.runtime.probe import describe_listener
from parlour.runtime.zeromq import Context, new_socket, shared_context
from parlour.wire.codec import decode_reply, encode
from parlour.wire.control import Refused, Reply, Request
from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["DEFAULT_BROKER", "RefusedError", "advice", "ask"]

DEFAULT_BROKER = "127.0.0.1:6000"
"""The address at which a broker listens by default."""

_HEDGE = 0.2
"""Seconds that a broker has to answer before the next broker is asked as well.

A client that gets two assignments uses the first. No node ever sees the ticket of the second: the broker that gave it
counts a client on its way until the ticket expires, so it overestimates one node's load for 30 s. That misleads no
client, and gives no node too many. A node that gets orders from two brokers follows one of them.
"""


_LOOK = 0.4
"""Seconds for all checks of what listens at addresses where no broker answered."""


class RefusedError(ParlourError):
    """A broker refused the request.

    Attributes:
        code: a short, stable word (`"no_node"`, `"full"`, `"name_taken"`, `"other_log"`, `"bad_version"`, …).
        retry_after: seconds after which a new request may succeed, or None.
        broker: the broker's address.
        turn_at: that address if this broker keeps a turn for the client, of which the others know nothing; or None.
    """

    def __init__(self, refused: Refused, broker: str) -> None:
        super().__init__(refused.text)
        self.broker = broker
        self.turn_at = broker if refused.code == "storm" else None
        self.code = refused.code
        self.retry_after = refused.retry_after


def _connect(context: Context, host: str, port: int, ipv6: bool) -> zmq.Socket[bytes] | None:
    """Return a DEALER that connects to the broker and belongs to the calling thread; None if it cannot connect."""
    try:
        with ExitStack() as failed:
            socket = failed.enter_context(new_socket(context, zmq.DEALER))
            socket.linger = 0
            socket.ipv6 = ipv6
            socket.connect(endpoint(host, port))
            failed.pop_all()
    except zmq.ZMQError:
        return None
    return socket


def _read(socket: zmq.Socket[bytes], broker: str) -> Reply:
    try:
        reply = decode_reply(socket.recv())
    except ProtocolError as error:
        raise ProtocolError(f"{broker} does not answer like a broker ({error}): check the address") from None
    if isinstance(reply, Refused):
        raise RefusedError(reply, broker)
    return reply


def ask(brokers: Sequence[str], request: Request, timeout: float = 3.0, first: str | None = None) -> tuple[str, Reply]:
    """Ask the brokers in random order, but `first` first; return the address of the one that answered, and its reply.

    Until one answers, one more broker is asked every 0.2 s; the first answer counts. `timeout` is in seconds, for all
    brokers together. Raises UnavailableError if no broker answers or the process may open no more files, RefusedError
    if the reply is `refused`, UsageError if no broker is given or an address is invalid.
    """
    if not brokers:
        raise UsageError("no broker is named: name one with --broker HOST:PORT or in PARLOUR_BROKER")
    # The last entry is asked first. A name with addresses of both kinds has an entry for each: a broker may use one.
    waiting = [
        (broker, host, port, ipv6)
        for broker in random.sample(brokers, len(brokers))
        for host, port in [parse_address(broker)]
        for ipv6 in reversed(ipv6_choices(host))
    ]
    waiting.sort(key=lambda place: place[0] == first)
    body = encode(request)
    pause = min(_HEDGE, timeout / len(waiting))
    deadline = time.monotonic() + timeout
    # One DEALER for each broker, because a DEALER with several connections sends each request to only one of them.
    asked: dict[zmq.Socket[bytes], str] = {}
    poller = zmq.Poller()
    context = shared_context()
    with ExitStack() as closing:
        while (left := deadline - time.monotonic()) > 0:
            if waiting:
                broker, host, port, ipv6 = waiting.pop()
                socket = _connect(context, host, port, ipv6)
                if socket is None:
                    continue
                asked[closing.enter_context(socket)] = broker
                poller.register(socket, zmq.POLLIN)
                socket.send(body)
            for ready, _ in poller.poll(int(1000 * (min(left, pause) if waiting else left)) + 1):
                return asked[ready], _read(ready, asked[ready])
    start = "parlour up -d" if list(brokers) == [DEFAULT_BROKER] else f"parlour up -d --broker {brokers[0]}"
    raise UnavailableError(f"no broker answers at {' or '.join(brokers)}: {advice(brokers, start)}")


def advice(brokers: Sequence[str], start: str) -> str:
    """Return what to do if no broker answers, and what listens there instead, if that can be seen.

    `start` is the command that starts a broker.
    """
    found = [what for broker in brokers if (what := describe_listener(broker, _LOOK / len(brokers)))]
    if found:
        return f"{', and '.join(found)}: name another with --broker"
    return f"start one with `{start}`, or name another with --broker"
