"""The tickets of clients: each is valid once, for this node and one name, until it expires.

This module owns the list of used tickets; any thread may call it. It must never keep a ticket after it has expired.
"""

from __future__ import annotations

import time

from parlour.runtime.locks import make_lock
from parlour.wire.control import Ticket
from parlour.wire.errors import ProtocolError

__all__ = ["TicketBook"]

MAX_LIFETIME = 600.0
"""Seconds for which a ticket may be valid, and is remembered: more than any broker gives."""

TIDY_INTERVAL = 1.0
"""Seconds between two searches for tickets that have expired."""


class TicketBook:
    """The tickets that were used at this node and have not expired."""

    def __init__(self) -> None:
        # Guards _used and _tidied. Rank 15.
        self._mutex = make_lock(15, "ticket book")
        self._used: dict[str, float] = {}  # from id to the end of validity, in seconds since the Unix epoch
        self._tidied = 0.0

    def redeem(self, ticket: Ticket, node: str, name: str) -> None:
        """Use a ticket for this node and name, once; raises ProtocolError if it is not valid now."""
        now = time.time()
        problem = ""
        if ticket.node != node:
            problem = f"the ticket is for node {ticket.node}, but this is node {node}"
        elif ticket.name != name:
            problem = f"the ticket is for {ticket.name}, not for {name}"
        elif not 0 <= ticket.expires - now <= MAX_LIFETIME:
            problem = "the ticket has expired, or the clock here differs from the broker's"
        else:
            with self._mutex:
                if ticket.id in self._used:
                    problem = "the ticket was used before"
                self._used[ticket.id] = ticket.expires
                if now - self._tidied >= TIDY_INTERVAL:
                    self._tidied = now
                    self._used = {each: end for each, end in self._used.items() if end >= now}
        if problem:
            raise ProtocolError(f"{problem}: ask the broker for another ticket", "bad_ticket")
