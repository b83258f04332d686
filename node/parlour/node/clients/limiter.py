"""The budgets at one node, by their holders: accounts, guests, and addresses.

This module owns the list of them; clients' threads call it. It must keep a budget for as long as it differs from a new
one: else a client would be rid of what it owes by connecting again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from parlour.node.clients.budget import BURST, OWED, Budget
from parlour.runtime.locks import make_lock

__all__ = ["Limiter"]

KEPT = BURST + OWED
"""Seconds for which a budget without holders is kept, until it is looked at: by then it is usually full."""


class _Entry:
    __slots__ = ("budget", "holders")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.holders = 0


class Limiter:
    """The budgets at one node."""

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        """Give everybody `rate` units a second who has no rate of the own; with 0, nobody has a budget."""
        self.rate = rate
        self.now = now
        # Guards _entries, their holders, and _unheld. Rank 16.
        self._mutex = make_lock(16, "limiter")
        self._entries: dict[str, _Entry] = {}
        self._unheld: deque[tuple[float, str]] = deque()  # when to look at which budget, if nobody holds it then

    def hold(self, key: str, rate: float) -> Budget:
        """Return the budget with this key, which all that hold it share, and let it have this rate from now on."""
        with self._mutex:
            self._sweep()
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(Budget(rate, self.now()))
            entry.budget.rate = rate
            entry.holders += 1
            return entry.budget

    def holders(self, key: str) -> int:
        """Return how many hold the budget with this key."""
        with self._mutex:
            return self._entries[key].holders

    def release(self, key: str) -> None:
        """Give up a hold."""
        with self._mutex:
            entry = self._entries[key]
            entry.holders -= 1
            if not entry.holders:
                self._unheld.append((self.now() + KEPT, key))
            self._sweep()

    def _sweep(self) -> None:
        """Drop the budgets that nobody holds and that are full; the caller holds the mutex."""
        now = self.now()
        while self._unheld and self._unheld[0][0] <= now:
            _, key = self._unheld.popleft()
            entry = self._entries.get(key)
            if entry is None or entry.holders:
                continue
            if entry.budget.is_full(now):
                del self._entries[key]
            else:
                self._unheld.append((now + KEPT, key))
