"""One simulated node: the number of its clients, and its reports.

This module owns the counts of a node. It is pure and belongs to the one thread of its simulation. An object must never
outlive its instance: a node that starts again is a new object.
"""

from __future__ import annotations

import random
from collections import deque

from parlour.wire.control import Report, Transfer

__all__ = ["SimulatedNode"]

_ADMITS = 500.0
"""New clients per second that a node reports it can take, like a real node."""

_REPORTS = 3
"""Reports that list a redeemed ticket, like those of a real node."""


class SimulatedNode:
    """A node that only counts: it accepts every client at once, whatever its capacity."""

    def __init__(self, name: str, life: int, capacity: int, chance: random.Random) -> None:
        self.name = name
        self.life = life
        self.capacity = capacity
        self.chance = chance
        """The random generator of its reports, the same for every policy."""
        self.alive = True
        self.draining = False
        self.away = 0.0
        """Seconds from its end to its next start."""
        self.clients = 0
        self.moving = 0
        """Those of its clients that are on their way to another node: they cannot depart, they will arrive there."""
        self.transfers: deque[Transfer] = deque()
        """The clients that it was ordered to move and has not asked yet."""
        self.heard = 0.0
        """When the last of its reports on the way arrives: no report overtakes another."""
        self._redeemed: deque[list[str]] = deque([[]], _REPORTS)
        self._second = 0
        self._came = 0

    @property
    def load(self) -> float:
        """Clients ÷ weight, which is the capacity."""
        return self.clients / self.capacity

    @property
    def staying(self) -> int:
        """Clients that are not on their way to another node."""
        return self.clients - self.moving

    def enter(self, ticket: str, now: float) -> float:
        """Accept a client; return how many came in this second of the clock, relative to what the node admits."""
        self.clients += 1
        self._redeemed[-1].append(ticket)
        if int(now) != self._second:
            self._second, self._came = int(now), 0
        self._came += 1
        return self._came / _ADMITS

    def report(self, stopping: bool = False) -> Report:
        """Return the present load report."""
        redeemed = [ticket for tickets in self._redeemed for ticket in tickets]
        self._redeemed.append([])
        return Report(
            node=self.name,
            instance=f"{self.name}-{self.life}",
            address=self.name,
            relay=self.name,
            log="simulated",
            capacity=self.capacity,
            clients=self.clients,
            redeemed=redeemed,
            draining=self.draining,
            stopping=stopping,
            admits=_ADMITS,
        )
