"""The way in: ask a broker where to go, go there, and ask again if that fails, until the deadline.

This module owns the talk with brokers and the choice of what to do when a broker or a node says no; it runs on the
thread that connects. It must never try for longer than it was told, nor knock at the same door without a pause.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from parlour.client.connection import Connection
from parlour.client.errors import DeadlineError, NodeError
from parlour.runtime.asking import RefusedError, ask
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Hello

__all__ = ["enter"]

_ASKING = 3.0
"""Seconds that the brokers have to answer."""

_REACHING = 3.0
"""Seconds that a node has to welcome us."""

_PAUSE = 0.2
"""Seconds between two attempts, at least."""


def enter(brokers: Sequence[str], name: str, room: str | None, timeout: float, node: str | None = None) -> Connection:
    """Return a connection to the node that a broker named, within `timeout` seconds; `node` asks for that one alone.

    Raises UnavailableError if no broker answers, RefusedError or NodeError if there is no place and none will come in
    time, DeadlineError if no node could be reached, and ProtocolError if a peer speaks otherwise.
    """
    deadline = time.monotonic() + timeout
    failed: list[str] = []
    trouble = "the time is too short"
    while (left := deadline - time.monotonic()) > 0:
        assign = Assign(name, room, node, failed, PROTOCOL)
        try:
            assigned = _ask(brokers, assign, min(_ASKING, left))
        except RefusedError as refused:
            # The nodes that failed may be back by then.
            failed = []
            trouble = str(refused)
            _pause(refused, refused.retry_after, deadline)
            continue
        hello = Hello(name, assigned.ticket, PROTOCOL)
        try:
            return Connection(assigned.address, hello, max(0.1, min(_REACHING, deadline - time.monotonic())))
        except NodeError as refused:
            # With another node the outcome may be another, and so may it be later.
            failed.append(assigned.node)
            trouble = f"{assigned.node} says: {refused}"
            again = refused.retry_after is not None or refused.code == "bad_ticket"
            _pause(refused, _PAUSE if again else None, deadline)
        except OSError as error:
            failed.append(assigned.node)
            trouble = f"{assigned.node} cannot be reached at {assigned.address} ({error.strerror or error})"
            time.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))
    raise DeadlineError(f"no node took us in within {timeout:g} s: {trouble}")


def _ask(brokers: Sequence[str], assign: Assign, timeout: float) -> Assigned:
    broker, reply = ask(brokers, assign, timeout)
    if not isinstance(reply, Assigned):
        raise ProtocolError(f"{broker} answered {type(reply).__name__}, not where to go: is it a broker?")
    return reply


def _pause(refused: RefusedError | NodeError, retry_after: float | None, deadline: float) -> None:
    """Wait as long as the refusal says, and a little more at random; raises it if that leads nowhere."""
    if retry_after is None:
        raise refused
    # All who were refused were so at the same moment: they should not come back at the same moment.
    wait = max(_PAUSE, retry_after) * random.uniform(1.0, 1.3)
    if time.monotonic() + wait >= deadline:
        raise refused
    time.sleep(wait)
