"""Questions to a broker: one request, one reply, with a deadline, asked of one broker more until one answers.

This module owns the DEALER side of the broker's ROUTER. Each question opens its own sockets in the calling thread and
closes all before it returns, so that nothing is left behind and no late reply is mistaken.
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
"""Where a broker listens unless told otherwise."""

_HEDGE = 0.2
"""Seconds that a broker is given before the next is asked as well.

A client that two brokers assign takes the first answer. The ticket of the other is never shown to a node: it counts as
a client on its way, at that one broker, until it expires, so that broker holds a node for fuller than it is for 30 s.
Nobody is sent astray by that, and no node is given too many. Of two brokers' orders a node follows one.
"""


_LOOK = 0.4
"""Seconds in which to find out what is at the addresses where no broker has answered."""


class RefusedError(ParlourError):
    """The broker answered, and the answer was no.

    Attributes:
        code: a short, stable word (`"no_node"`, `"full"`, `"name_taken"`, `"other_log"`, `"bad_version"`, …).
        retry_after: seconds after which asking again may help, or None.
        broker: its address.
        turn_at: that address if a turn is kept for the asker there, as the other brokers know nothing of it; or None.
    """

    def __init__(self, refused: Refused, broker: str) -> None:
        super().__init__(refused.text)
        self.broker = broker
        self.turn_at = broker if refused.code == "storm" else None
        self.code = refused.code
        self.retry_after = refused.retry_after


def _connect(context: Context, host: str, port: int, ipv6: bool) -> zmq.Socket[bytes] | None:
    """Return a DEALER of the calling thread's, on its way to the broker; None if there is no way."""
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
        raise ProtocolError(f"{broker} does not answer as a broker does ({error}): is it one?") from None
    if isinstance(reply, Refused):
        raise RefusedError(reply, broker)
    return reply


def ask(brokers: Sequence[str], request: Request, timeout: float = 3.0, first: str | None = None) -> tuple[str, Reply]:
    """Ask the brokers in random order, `first` before the others; return the address of who answers and the reply.

    While none has answered, one more is asked every 0.2 s, and the first answer of any counts. `timeout` is in seconds
    for all of them together. Raises UnavailableError if none answers or no more files may be open, RefusedError if the
    reply is `refused`, UsageError if no broker is given or an address is none.
    """
    if not brokers:
        raise UsageError("no broker is named: give one with --broker HOST:PORT or in PARLOUR_BROKER")
    # The last is asked first. Of a name with several kinds of addresses each kind is asked, as a broker may have one.
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
    # A DEALER for each: one that is connected to several gives every question to only one of them, in turn.
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
    """Return what to do where no broker answered, and what is there instead, if that can be seen.

    `start` is the command that starts one.
    """
    found = [what for broker in brokers if (what := describe_listener(broker, _LOOK / len(brokers)))]
    if found:
        return f"{', and '.join(found)}: name another with --broker"
    return f"start one with `{start}`, or name another with --broker"
