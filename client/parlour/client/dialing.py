"""How a client reaches a node: ask a broker for one, connect, and ask again if that fails, until the deadline.

This module owns the questions to brokers and the reaction when a broker or a node refuses; it runs on the thread that
connects. It must never try after its deadline, nor try twice without a pause.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec.structs import replace

from parlour.client.backoff import Backoff
from parlour.client.connection import Connection
from parlour.client.errors import DeadlineError, NodeError
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.runtime.logs import client_log
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ParlourError, ProtocolError, UsageError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Hello

__all__ = ["DialError", "dial", "dial_cluster", "dial_once"]

_ASKING = 3.0
"""Seconds in which a broker must answer."""

_REACHING = 3.0
"""Seconds in which a node must welcome the client."""

_PAUSE = 0.2
"""Shortest pause between two attempts, in seconds."""


class DialError(ParlourError):
    """A node that a broker named could not be reached, or refused the client.

    Attributes:
        node: the node's name.
        cause: the node's refusal, or the failure of the connection.
    """

    def __init__(self, node: str, address: str, cause: NodeError | ProtocolError | OSError) -> None:
        if isinstance(cause, OSError):
            super().__init__(f"{node} cannot be reached at {address} ({cause.strerror or cause})")
        elif isinstance(cause, ProtocolError) and cause.code != "bad_version":
            super().__init__(f"no parlour node answers at {address}, the address of {node} ({cause})")
        else:
            super().__init__(f"{node} at {address} says: {cause}")
        self.node = node
        self.cause = cause


def dial_cluster(
    brokers: Sequence[str], hello: Hello, room: str | None, timeout: float, node: str | None = None
) -> Connection:
    """Return a connection to the node that a broker names, within `timeout` seconds; `node` accepts only that one.

    `hello` is the client's first message, without a ticket. Raises UnavailableError if no broker answers, RefusedError
    or NodeError if there is no place and none will come in time, DeadlineError if no node could be reached, and
    ProtocolError if a peer does not speak the protocol.
    """
    deadline = time.monotonic() + timeout
    failed: list[str] = []
    first: str | None = None
    trouble = "the time is too short"
    turned_away: DialError | None = None
    while (left := deadline - time.monotonic()) > 0:
        try:
            return dial_once(brokers, Assign(hello.name, room, node, failed, PROTOCOL), hello, left, first)
        except RefusedError as refused:
            if failed and refused.code == "no_node":
                # The broker knows only that the client named every node as failed; the client knows the reason.
                _pause(refused if turned_away is None else _final(turned_away, timeout), refused.retry_after, deadline)
            else:
                turned_away, trouble = None, str(refused)
                _pause(refused, refused.retry_after, deadline)
            # The nodes that failed may work again by now.
            failed = []
            first = refused.turn_at
        except DialError as error:
            # Another node may accept the client, and so may this one later.
            failed.append(error.node)
            turned_away, trouble = error, str(error)
            again = True
            if isinstance(error.cause, NodeError):
                again = error.cause.retry_after is not None or error.cause.code == "bad_ticket"
            elif isinstance(error.cause, ProtocolError):
                again = error.cause.code != "bad_version"
            _pause(_final(error, timeout), _PAUSE if again else None, deadline)
    raise DeadlineError(f"no node accepted this client within {timeout:g} s: {trouble}")


def _final(error: DialError, timeout: float) -> NodeError | ProtocolError | DeadlineError:
    """Return the error to raise if no other node accepts the client."""
    if isinstance(error.cause, NodeError):
        return error.cause.reworded(str(error))
    if isinstance(error.cause, ProtocolError):
        return ProtocolError(str(error), error.cause.code)
    return DeadlineError(f"no node accepted this client within {timeout:g} s: {error}")


def dial_once(
    brokers: Sequence[str], assign: Assign, hello: Hello, timeout: float, first: str | None = None
) -> Connection:
    """Ask the brokers once, `first` before the others, and connect to the node that they name, within `timeout` s.

    Raises DialError if the node is at fault; UnavailableError, RefusedError or ProtocolError if the brokers are.
    """
    deadline = time.monotonic() + timeout
    broker, reply = ask(brokers, assign, min(_ASKING, timeout), first)
    if not isinstance(reply, Assigned):
        raise ProtocolError(f"{broker} answered {type(reply).__name__}, not the address of a node: is it a broker?")
    hello = replace(hello, ticket=reply.ticket)
    return dial(reply.node, reply.address, hello, max(0.1, deadline - time.monotonic()))


def dial(node: str, address: str, hello: Hello, timeout: float) -> Connection:
    """Return a connection to a node for which `hello` has a ticket; raises DialError after `timeout` s at most."""
    try:
        connection = Connection(address, hello, min(_REACHING, timeout))
    except (NodeError, ProtocolError, OSError) as error:
        raise DialError(node, address, error) from None
    except UsageError as error:  # The address is not valid; nothing else here is checked against a limit.
        raise DialError(node, address, OSError(str(error))) from None
    client_log.info("%s is connected to node %s at %s", hello.name, node, address)
    return connection


def _pause(refused: ParlourError, retry_after: float | None, deadline: float) -> None:
    """Wait as long as the refusal says, plus a random part; raise the refusal if that is pointless."""
    if retry_after is None:
        raise refused
    wait = Backoff().told(max(_PAUSE, retry_after))
    if time.monotonic() + wait >= deadline:
        raise refused
    time.sleep(wait)
