"""The way in: ask a broker where to go, go there, and ask again if that fails, until the deadline.

This module owns the talk with brokers and the choice of what to do when a broker or a node says no; it runs on the
thread that connects. It must never try for longer than it was told, nor knock at the same door without a pause.
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

__all__ = ["EnteringError", "enter", "step_in", "try_to_enter"]

_ASKING = 3.0
"""Seconds that the brokers have to answer."""

_REACHING = 3.0
"""Seconds that a node has to welcome us."""

_PAUSE = 0.2
"""Seconds between two attempts, at least."""


class EnteringError(ParlourError):
    """A node that a broker named could not be entered.

    Attributes:
        node: its name.
        cause: what it said, or what became of the connection.
    """

    def __init__(self, node: str, address: str, cause: NodeError | ProtocolError | OSError) -> None:
        if isinstance(cause, OSError):
            super().__init__(f"{node} cannot be reached at {address} ({cause.strerror or cause})")
        elif isinstance(cause, ProtocolError) and cause.code != "bad_version":
            super().__init__(
                f"what answers at {address}, which {node} gives as its address, is no parlour node ({cause})"
            )
        else:
            super().__init__(f"{node} at {address} says: {cause}")
        self.node = node
        self.cause = cause


def enter(
    brokers: Sequence[str], hello: Hello, room: str | None, timeout: float, node: str | None = None
) -> Connection:
    """Return a connection to the node that a broker named, within `timeout` seconds; `node` asks for that one alone.

    `hello` is what to say there, but for the ticket. Raises UnavailableError if no broker answers, RefusedError or
    NodeError if there is no place and none will come in time, DeadlineError if no node could be reached, and
    ProtocolError if a peer speaks otherwise.
    """
    deadline = time.monotonic() + timeout
    failed: list[str] = []
    first: str | None = None
    trouble = "the time is too short"
    turned_away: EnteringError | None = None
    while (left := deadline - time.monotonic()) > 0:
        try:
            return try_to_enter(brokers, Assign(hello.name, room, node, failed, PROTOCOL), hello, left, first)
        except RefusedError as refused:
            if failed and refused.code == "no_node":
                # The broker knows only that the client named each node as failed, and the client knows why.
                _pause(refused if turned_away is None else _final(turned_away, timeout), refused.retry_after, deadline)
            else:
                turned_away, trouble = None, str(refused)
                _pause(refused, refused.retry_after, deadline)
            # The nodes that failed may be back by now.
            failed = []
            first = refused.turn_at
        except EnteringError as error:
            # With another node the outcome may be another, and so may it be later.
            failed.append(error.node)
            turned_away, trouble = error, str(error)
            again = True
            if isinstance(error.cause, NodeError):
                again = error.cause.retry_after is not None or error.cause.code == "bad_ticket"
            elif isinstance(error.cause, ProtocolError):
                again = error.cause.code != "bad_version"
            _pause(_final(error, timeout), _PAUSE if again else None, deadline)
    raise DeadlineError(f"no node took us in within {timeout:g} s: {trouble}")


def _final(error: EnteringError, timeout: float) -> NodeError | ProtocolError | DeadlineError:
    """Return what to raise if no other node takes the client."""
    if isinstance(error.cause, NodeError):
        return NodeError(str(error), error.cause.code, error.cause.retry_after)
    if isinstance(error.cause, ProtocolError):
        return ProtocolError(str(error), error.cause.code)
    return DeadlineError(f"no node took us in within {timeout:g} s: {error}")


def try_to_enter(
    brokers: Sequence[str], assign: Assign, hello: Hello, timeout: float, first: str | None = None
) -> Connection:
    """Ask the brokers once, `first` before the others, and go where they say; takes `timeout` s at most, or six.

    Raises EnteringError if the node is at fault, UnavailableError, RefusedError or ProtocolError if the brokers are.
    """
    deadline = time.monotonic() + timeout
    broker, reply = ask(brokers, assign, min(_ASKING, timeout), first)
    if not isinstance(reply, Assigned):
        raise ProtocolError(f"{broker} answered {type(reply).__name__}, not where to go: is it a broker?")
    hello = replace(hello, ticket=reply.ticket)
    return step_in(reply.node, reply.address, hello, max(0.1, deadline - time.monotonic()))


def step_in(node: str, address: str, hello: Hello, timeout: float) -> Connection:
    """Return a connection to a node that one has a ticket for; raises EnteringError after `timeout` s at the latest."""
    try:
        connection = Connection(address, hello, min(_REACHING, timeout))
    except (NodeError, ProtocolError, OSError) as error:
        raise EnteringError(node, address, error) from None
    except UsageError as error:  # of the address: nothing else in here is checked against a limit
        raise EnteringError(node, address, OSError(str(error))) from None
    client_log.info("%s is connected to node %s at %s", hello.name, node, address)
    return connection


def _pause(refused: ParlourError, retry_after: float | None, deadline: float) -> None:
    """Wait as long as the refusal says, and a little more at random; raises it if that leads nowhere."""
    if retry_after is None:
        raise refused
    wait = Backoff().told(max(_PAUSE, retry_after))
    if time.monotonic() + wait >= deadline:
        raise refused
    time.sleep(wait)
