"""The connections from each address: how many come and sign in, and how many there are at the same time.

This module owns the prices of connecting and signing in, in connections; the listener's thread lets connections come,
and the clients' own threads sign in and leave. It must never hold up the machine's own programs: loopback has no limit.
"""

from __future__ import annotations

import math

from parlour.node.clients.budget import Budget, Stage
from parlour.node.clients.limiter import Limiter
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.masks import address_group
from parlour.wire.messages import Hello
from parlour.wire.signin import Auth

__all__ = ["SHARE", "Arrivals", "Place", "limited_group"]

SHARE = 10
"""The part of a node's places, a tenth, that one address may have at the same time."""

HELLO = 1
"""The price of a hello, besides that of the connection."""

PASSWORD = 5
"""The price of a hello, or of a step of a sign-in, with a password: the node works for some 50 ms to check it."""

SLOWEST = 1.0
"""Seconds that a sign-in waits, at most."""


def limited_group(address: str) -> str:
    """Return the group of an address for which it is counted; empty for loopback, or if there is none."""
    group = address_group(address)
    return "" if group == "::/64" or group.startswith("127.") else group  # ::1 has its /64 for itself


class Place:
    """The place of one connection."""

    def __init__(self, arrivals: Arrivals | None = None, key: str = "", budget: Budget | None = None) -> None:
        """Take a place; without a budget there is no limit."""
        self._arrivals = arrivals
        self._key = key
        self._budget = budget

    def sign_in(self, message: Hello | Auth) -> float:
        """Return the seconds to wait before the message is handled; raises RefusedClientError if it is too many."""
        if self._arrivals is None or self._budget is None:
            return 0.0
        dear = isinstance(message, Auth) or message.password or message.invitation
        return self._arrivals.spend(self._budget, PASSWORD if dear else HELLO)

    def leave(self) -> None:
        """Give the place up."""
        if self._arrivals is not None:
            self._arrivals.limiter.release(self._key)


class Arrivals:
    """The connections from all addresses to one node."""

    def __init__(self, limiter: Limiter, rate: float, capacity: int) -> None:
        """Take `rate` connections a second from an address, with a burst; 0 for no limit.

        `capacity` is the number of the node's places.
        """
        self.limiter = limiter
        self._rate = rate
        self._most = max(1, capacity // SHARE)

    def come(self, address: str) -> Place:
        """Return the place of a new connection from this IP address; raises RefusedClientError if it gets none."""
        group = limited_group(address) if self._rate else ""
        if not group:
            return Place()
        key = f"arrivals/{group}"
        place = Place(self, key, budget := self.limiter.hold(key, self._rate))
        try:
            if self.limiter.holders(key) > self._most:
                text = f"your address has {self._most} connections to this node: close one, or ask for another node"
                raise RefusedClientError("full", text, 1.0)
            self.spend(budget, 1)  # the hello waits, not the listener
        except RefusedClientError:
            place.leave()
            raise
        return place

    def spend(self, budget: Budget, price: float) -> float:
        """Return the seconds to wait; raises RefusedClientError, with the code flood if earlier ones are not heeded."""
        stage, wait = budget.spend(price, self.limiter.now())
        if stage >= Stage.REFUSED:
            code = "flood" if stage is Stage.CUT else "slow_down"
            text = f"too many connections and sign-ins come from your address: try again in {math.ceil(wait)} s"
            raise RefusedClientError(code, text, wait)
        return min(wait, SLOWEST)
