"""How one client comes in: perhaps a sign-in by SASL, then its hello, which together make a Person.

This module owns the sign-in of one connection; the client's own thread runs it. It must never let a client guess again
and again.
"""

from __future__ import annotations

import hashlib

from parlour.node.people.people import People, answered
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.messages import Error, Hello
from parlour.wire.people import Person
from parlour.wire.signin import Auth, Challenge

__all__ = ["Authentication", "session_of"]

MAX_REFUSALS = 3
"""Steps of sign-ins by SASL that may be refused on one connection."""

MAX_STEPS = 20
"""Steps on one connection, at most: each may ask the directory."""


def session_of(key: str) -> str:
    """Return the id of the session with this secret key: all may see the id, but none can derive the key from it."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]


class Authentication:
    """The sign-in of the client at one address."""

    def __init__(self, people: People, address: str) -> None:
        self._people = people
        self._address = address
        self._exchange = people.exchange(address)
        self._steps = self._refusals = 0

    def step(self, auth: Auth) -> Challenge | Error:
        """Return the answer to a step by SASL; raises RefusedClientError, which is the last answer of too many."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise RefusedClientError("too_many_logins", "too many steps of a sign-in: connect again", 1.0)
        try:
            with answered():
                return self._exchange.step(auth)
        except RefusedClientError as refusal:
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                raise
            return refusal.told()

    def enter(self, hello: Hello, session: str) -> Person:
        """Return who says this hello; raises RefusedClientError if it may not come in."""
        return self._people.enter(hello, session, self._address, self._exchange.account)
