"""Requests to clients to move to other nodes, at a rate that those nodes can take.

This module owns that rate; it runs on the thread that drains or on a mover thread. It must never move a client by
force: the client opens its new connection before it closes the old one, and may stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from parlour.node.clients.session import Session
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.codec import frame
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ParlourError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Move

__all__ = ["Mover"]

ASK_TIMEOUT = 1.0
"""Seconds for the brokers to name a node for a client."""


class Mover:
    """Asks clients of one node to move, each to the node that a broker names for it."""

    def __init__(self, node: str, brokers: tuple[str, ...], rate: float, stopped: Callable[[float], bool]) -> None:
        """Move `rate` clients a second; `stopped(seconds)` waits that long and returns whether to stop."""
        self._node = node
        self._brokers = brokers
        self._rate = rate
        self._stopped = stopped
        self._answered: str | None = None  # the broker that answered last is asked first: a dead one costs time

    def move(self, sessions: Iterable[Session], target: str | None, until: float) -> bool:
        """Ask the clients to go to the node `target`, or to any node if None, until `until` (monotonic seconds).

        Returns False if no node can take them. A client that the broker refuses stays, and is asked another time.
        """
        begun = time.monotonic()
        for count, session in enumerate(sessions):
            if self._stopped(max(0.0, begun + count / self._rate - time.monotonic())) or time.monotonic() >= until:
                break
            try:
                self._answered, assigned = ask(
                    self._brokers,
                    Assign(session.ticket_name, node=target, failed=[self._node], protocol=PROTOCOL),
                    ASK_TIMEOUT,
                    self._answered,
                )
            except RefusedError as refused:
                self._answered = refused.broker
                if refused.code == "no_node":
                    return False
                continue
            except ParlourError:
                return False
            if isinstance(assigned, Assigned):
                session.leaves_by = time.monotonic() + assigned.expires_in
                session.writer.answer(frame(Move(assigned.node, assigned.address, assigned.ticket)))
        return True
