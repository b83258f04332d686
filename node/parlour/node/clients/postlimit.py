"""The limit of posts: a client that posts too fast is first slowed, then refused, then cut off; nobody else notices.

This module owns the budgets, which the devices of an account share on a node; the clients' threads call it. It must
cost next to nothing within the limit: it is asked once for all messages that came together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.locks import make_lock
from parlour.wire.messages import ClientMessage, Error, NodeMessage, Say

__all__ = ["Budget", "Budgets", "PostLimit"]

BURST = 10.0
"""Seconds' worth of posts that may come at once."""

SLOWEST = 1.0
"""Seconds that a client's own reading waits at a time, at most."""

REFUSED_AT = 10.0
"""Seconds' worth of posts above the burst from which on posts are refused."""

CUT_AT = 1000
"""Posts refused in a row for which a client is cut off: it does not heed the refusals."""


class Budget:
    """The posts that a person may say: so many a second, and a burst."""

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        """Allow `rate` posts a second; 0 allows all."""
        self.rate = rate
        self._now = now
        # Guards _left and _at. Rank 17.
        self._mutex = make_lock(17, "budget of posts")
        self._left = rate * BURST
        self._at = now()

    def spend(self, posts: int) -> tuple[bool, float]:
        """Take so many posts off; return whether they may be said, and how many seconds' worth are owed then.

        They may not be said, and are not taken off, if too many were owed before.
        """
        with self._mutex:
            now = self._now()
            self._left = min(self.rate * BURST, self._left + (now - self._at) * self.rate)
            self._at = now
            allowed = self._left > -self.rate * REFUSED_AT
            if allowed:
                self._left -= posts
            return allowed, max(0.0, -self._left / self.rate)


class Budgets:
    """The budgets at one node, by identity."""

    def __init__(self, rate: float) -> None:
        """Allow everybody without a rate of the own `rate` posts a second."""
        self._rate = rate
        # Guards _budgets. Rank 16.
        self._mutex = make_lock(16, "budgets of posts")
        self._budgets: WeakValueDictionary[str, Budget] = WeakValueDictionary()

    def of(self, identity: str, rate: float) -> Budget:
        """Return the budget of a person, whose own rate counts unless it is 0."""
        with self._mutex:
            budget = self._budgets.get(identity)
            if budget is None:
                budget = self._budgets[identity] = Budget(rate or self._rate)
            return budget


class PostLimit:
    """The limit for one connection.

    Attributes:
        pause: seconds that the connection waits before it reads on.
    """

    def __init__(self, budget: Budget, answer: Callable[[NodeMessage], object]) -> None:
        self.pause = 0.0
        self._budget = budget
        self._answer = answer
        self._refused = 0

    def admit(self, messages: list[ClientMessage | Error]) -> list[ClientMessage | Error]:
        """Return the messages to handle; posts over the limit are answered and left out.

        Raises RefusedClientError for a client that goes on all the same.
        """
        if not self._budget.rate:
            return messages
        posts = sum(type(message) is Say for message in messages)
        self.pause = 0.0
        if not posts:
            return messages
        allowed, owed = self._budget.spend(posts)
        self.pause = min(owed, SLOWEST)
        if allowed:
            self._refused = 0
            return messages
        self._refused += posts
        if self._refused > CUT_AT:
            raise RefusedClientError("flood", "you post too fast, and do not stop when you are told to", owed)
        text = f"you post too fast: {self._budget.rate:g} posts a second are allowed, so wait before you say it again"
        for message in messages:
            if isinstance(message, Say):
                self._answer(Error("slow_down", text, message.room, message.id, retry_after=owed))
        return [message for message in messages if not isinstance(message, Say)]
