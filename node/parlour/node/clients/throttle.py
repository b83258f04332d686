"""The throttle of one connection: a client that does too much is first slowed, then refused, then cut off.

This module owns the prices of what a client may do, in posts; the client's own thread runs it. It must cost next to
nothing within the budget: it is asked once for all messages that came together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from parlour.node.clients.arrivals import limited_group
from parlour.node.clients.budget import Budget, Stage
from parlour.node.clients.limiter import Limiter
from parlour.node.clients.transport import CHUNK
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.asks import Ask
from parlour.wire.messages import (
    Bye,
    ClientMessage,
    Enter,
    Error,
    Hello,
    History,
    Join,
    Leave,
    NodeMessage,
    Ping,
    Pong,
    Say,
    Who,
)
from parlour.wire.people import Person
from parlour.wire.signin import Auth

__all__ = ["PRICES", "Throttle", "Throttled"]

POST_BYTES = 4096
"""Bytes that cost as much as a post: an average that few clients reach."""

PRICES: dict[type, int] = {
    Say: 1,
    Join: 2,
    History: 3,
    Who: 3,
    Ask: 3,
    Enter: 3,
    Hello: 1,
    Auth: 1,
    Error: 1,  # what the client sent could not be read
    Leave: 0,
    Ping: 0,
    Pong: 0,
    Bye: 0,
}
"""The price of each message. A message that ends something, and an answer, cost only their bytes."""

NICK = 60
"""The price of another name: all rooms of the client hear of it."""

GUESTS = 10
"""The budget of all guests at one address, in budgets of one guest: a guest can come again under another name."""

SLOWEST = 1.0
"""Seconds that a client's own reading waits at a time, at most."""

SIP = 4096
"""Bytes that are read at once from a client that owes something: what it writes waits in its own socket."""

REFUSING = 0.1
"""Seconds between two reads from a client that is refused: to answer all that it can write would be work."""

_price = PRICES.__getitem__


class Throttled(Protocol):
    """The session of the client."""

    @property
    def identity(self) -> str:
        """The identity of the person, see `wire.direct`."""
        ...

    @property
    def person(self) -> Person:
        """Who the client is; another object once that changes."""
        ...


class Throttle:
    """The throttle of one connection.

    Attributes:
        pause: seconds that the connection waits before it reads on.
        sip: bytes that it then reads at once, at most.
    """

    def __init__(self, limiter: Limiter, session: Throttled, answer: Callable[[NodeMessage], object]) -> None:
        """Tell the client by `answer` what is refused."""
        self.pause = 0.0
        self.sip = CHUNK
        self._limiter = limiter
        self._session = session
        self._answer = answer
        self._person: Person | None = None  # whose budget is held
        self._budgets: dict[str, Budget] = {}

    def close(self) -> None:
        """Give the budgets up."""
        for key in self._budgets:
            self._limiter.release(key)
        self._budgets = {}

    def admit(self, messages: list[ClientMessage | Error], size: int) -> list[ClientMessage | Error]:
        """Return the messages to handle; those over the limit are answered and left out. `size` is in bytes.

        Raises RefusedClientError for a client that goes on all the same.
        """
        if self._person is not self._session.person:
            self._hold()
        self.pause = 0.0
        self.sip = CHUNK
        if not self._budgets:
            return messages
        price: float = sum(map(_price, map(type, messages)))
        if price != len(messages):  # not posts alone
            price += NICK * sum(isinstance(message, Ask) and message.what == "nick" for message in messages)
        price, now = max(price, size / POST_BYTES), self._limiter.now()
        stage, wait = max(budget.spend(price, now) for budget in self._budgets.values())
        if stage is Stage.FREE:
            return messages
        if stage is Stage.SLOWED:
            self.pause, self.sip = min(wait, SLOWEST), SIP
            return messages
        if stage is Stage.CUT:
            raise RefusedClientError("flood", "you went on although this node told you to slow down", wait)
        self.pause = REFUSING
        return self._refuse(messages, wait)

    def _hold(self) -> None:
        """Hold the budgets of the person that the client is now."""
        self.close()
        self._person = person = self._session.person
        if not self._limiter.rate:
            return
        rates = {self._session.identity: person.rate or self._limiter.rate}
        if not person.account and (group := limited_group(person.address)):
            rates[f"guests/{group}"] = GUESTS * self._limiter.rate
        self._budgets = {key: self._limiter.hold(key, rate) for key, rate in rates.items()}

    def _refuse(self, messages: list[ClientMessage | Error], wait: float) -> list[ClientMessage | Error]:
        """Answer the messages that are not free; return the others."""
        text = (
            f"you are too fast: {self._budgets[self._session.identity].rate:g} posts a second are allowed, and other "
            f"requests count as several posts: try again in {math.ceil(wait)} s"
        )
        free: list[ClientMessage | Error] = []
        for message in messages:
            if isinstance(message, Error) or not PRICES[type(message)]:
                free.append(message)
                continue
            refusal = Error("slow_down", text, getattr(message, "room", None), retry_after=wait)
            if isinstance(message, Say):
                refusal = Error("slow_down", text, message.room, message.id, wait)
            elif isinstance(message, Ask):
                refusal = Error("slow_down", text, retry_after=wait, ask=message.id)
            self._answer(refusal)
        return free
