"""The tickets that clients came with: each is good once, for this node and one name, until it expires.

This module owns the memory of tickets that were used; any thread may call it. It must never keep one for longer than it
is good.
"""

from __future__ import annotations

import time

from parlour.runtime.locks import make_lock
from parlour.wire.control import Ticket
from parlour.wire.errors import ProtocolError

__all__ = ["TicketBook"]

LONGEST = 600.0
"""Seconds that a ticket may be good for, to be remembered until then: more than any broker gives."""

TIDY = 1.0
"""Seconds between two looks for tickets that may be forgotten."""


class TicketBook:
    """The tickets that were used at this node and are still good."""

    def __init__(self) -> None:
        # Guards _used and _tidied. Rank 15.
        self._mutex = make_lock(15, "ticket book")
        self._used: dict[str, float] = {}  # by id, and until when each is good, in seconds since the Unix epoch
        self._tidied = 0.0

    def redeem(self, ticket: Ticket, node: str, name: str) -> None:
        """Let a client with a ticket into the node, once; raises ProtocolError for one that is not good now."""
        now = time.time()
        problem = ""
        if ticket.node != node:
            problem = f"the ticket is for the node {ticket.node}, this is {node}"
        elif ticket.name != name:
            problem = f"the ticket is for {ticket.name}, not for {name}"
        elif not 0 <= ticket.expires - now <= LONGEST:
            problem = "the ticket has expired, or the clock here differs from the broker's"
        else:
            with self._mutex:
                if ticket.id in self._used:
                    problem = "the ticket was used before"
                self._used[ticket.id] = ticket.expires
                if now - self._tidied >= TIDY:
                    self._tidied = now
                    self._used = {each: end for each, end in self._used.items() if end >= now}
        if problem:
            raise ProtocolError(f"{problem}: ask the broker for another", "bad_ticket")
