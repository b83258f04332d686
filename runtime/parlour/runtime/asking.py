"""Questions to a broker: one request, one reply, with a deadline, asked of each known broker until one answers.

This module owns the DEALER side of the broker's ROUTER. Each question opens its own ZeroMQ context and socket in
the calling thread and closes both before it returns, so that nothing is left behind and no late reply is mistaken.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import zmq

from parlour.wire.codec import decode_reply, encode
from parlour.wire.control import Refused, Reply, Request
from parlour.wire.errors import ParlourError, ProtocolError, UnavailableError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["DEFAULT_BROKER", "RefusedError", "ask", "endpoint"]

DEFAULT_BROKER = "127.0.0.1:6000"
"""Where a broker listens unless told otherwise."""


class RefusedError(ParlourError):
    """The broker answered, and the answer was no.

    Attributes:
        code: a short, stable word (`"no_node"`, `"full"`, `"name_taken"`, `"other_log"`, `"bad_version"`, …).
        retry_after: seconds after which asking again may help, or None.
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.code = refused.code
        self.retry_after = refused.retry_after


def endpoint(host: str, port: int) -> str:
    """Return ZeroMQ's spelling of a TCP address."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _ask_one(context: zmq.Context[zmq.Socket[bytes]], broker: str, body: bytes, timeout: float) -> Reply | None:
    """Return the broker's reply, or None if none comes in time; the socket is the calling thread's."""
    host, port = parse_address(broker)
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.ipv6 = ":" in host
        try:
            socket.connect(endpoint(host, port))
        except zmq.ZMQError:
            return None
        socket.send(body)
        if not socket.poll(int(timeout * 1000)):
            return None
        try:
            return decode_reply(socket.recv())
        except ProtocolError as error:
            raise ProtocolError(f"{broker} does not answer as a broker does ({error}): is it one?") from None


def ask(brokers: Sequence[str], request: Request, timeout: float = 3.0) -> tuple[str, Reply]:
    """Ask the brokers in random order; return the address of the first that answers and its reply.

    `timeout` is in seconds for all of them together. Raises UnavailableError if none answers, RefusedError if the
    reply is `refused`, UsageError if no broker is given or an address is none.
    """
    if not brokers:
        raise UsageError("no broker is named: give one with --broker HOST:PORT or in PARLOUR_BROKER")
    body = encode(request)
    with zmq.Context() as context:
        for broker in random.sample(brokers, len(brokers)):
            reply = _ask_one(context, broker, body, timeout / len(brokers))
            if isinstance(reply, Refused):
                raise RefusedError(reply)
            if reply is not None:
                return broker, reply
    raise UnavailableError(
        f"no broker answers at {' or '.join(brokers)}: start one with `parlour up -d`, or name another with --broker"
    )
