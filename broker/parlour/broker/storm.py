"""Storms: the clients of a lost node come back all at once, and get turns at the rate that the other nodes admit.

This module owns the recent losses of nodes and the turns given out. It is pure, with a clock passed in, and belongs to
the one thread that runs its balancer. It must never delay a client unless a node was lost.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from parlour.broker.reasons import listed
from parlour.broker.settings import BrokerSettings
from parlour.wire.control import Report

__all__ = ["Storm"]

_EARLY = 0.05
"""Seconds before its turn at which a client is already admitted, because two clocks differ."""


class Storm:
    """A token bucket with a queue behind it.

    The nodes together admit `rate` clients a second. The clients of one second are admitted as they come. When that
    second's tokens are spent, each further client gets a turn of its own: the first turn is a second away, and the
    next follow every 1 ÷ rate seconds. Turns are reserved by client name, so a client on time is admitted under any
    load. When the nodes admit more than before, new turns start a second away again, in the gaps between the turns
    already given.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        # By instance, oldest first: when the node was lost, its name, and the clients that it had.
        self._losses: OrderedDict[str, tuple[float, str, int]] = OrderedDict()
        self._coming = 0
        # By client, in the order given: when its turn is, and until when the turn is kept.
        self._turns: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._free = 0.0  # the next turn to give out; if it has passed, nobody is in the queue
        self._rate = 0.0  # the rate at which turns were given out last
        # Turns in each second of the clock: now, and when the rate last rose.
        self._given: Counter[int] = Counter()
        self._before: Counter[int] = Counter()
        self._tokens = 0.0
        self._filled = float("-inf")

    # --- losses ----------------------------------------------------------------------------------------------

    def node_lost(self, report: Report, clients: int, now: float) -> None:
        """Expect the clients of a node that has gone, or that many clients cannot reach."""
        self.node_back(report)
        if not clients:
            return
        self._losses[report.instance] = (now, report.node, clients)
        self._coming += clients
        if len(self._losses) > self._settings.remembered:
            self._forget_loss()

    def node_back(self, report: Report) -> None:
        """Expect no clients of this node: it is there again, and so are its clients."""
        _, _, clients = self._losses.pop(report.instance, (0.0, "", 0))
        self._coming -= clients

    def _forget_loss(self) -> None:
        _, (_, _, clients) = self._losses.popitem(last=False)
        self._coming -= clients

    def is_active(self, now: float, rate: float) -> bool:
        """Whether clients need turns: more were cut off lately than the nodes can take in one second."""
        while self._losses and next(iter(self._losses.values()))[0] <= now - self._settings.storm_life:
            self._forget_loss()
        while self._turns and next(iter(self._turns.values()))[1] <= now:
            self._turns.popitem(last=False)
        while self._given and next(iter(self._given)) < int(now):
            del self._given[next(iter(self._given))]
        if rate >= self._rate + 1 and self._free > now + 1.0:
            # Turns that clients were told stay as they are. The end of that queue would be far away for new clients,
            # and there is room between its turns now.
            self._rate = rate
            self._before = self._given.copy()
            self._free = self._filled = now + 1.0
        return self._coming > rate or self._free > now

    # --- turns -----------------------------------------------------------------------------------------------

    def take_turn(self, name: str, now: float, rate: float) -> float:
        """Return 0 if the client may go now, and use up its turn; else return in how many seconds its turn is."""
        kept = self._turns.get(name)
        if kept is not None:
            if kept[0] > now + _EARLY:
                return kept[0] - now
            del self._turns[name]
            return 0.0
        if self._free > now:
            return self._queue(name, now, rate)
        self._tokens = min(rate, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1:
            return self.postpone(name, now, rate)
        self._tokens -= 1
        return 0.0

    def postpone(self, name: str, now: float, rate: float) -> float:
        """Give the client a later turn, because no node can take one more now; return in how many seconds it is."""
        kept = self._turns.get(name)
        if kept is not None:
            if kept[0] > now + _EARLY:
                return kept[0] - now
            del self._turns[name]
        # The clients admitted within the last second must be through before the next turn.
        self._free = max(self._free, now + 1.0)
        self._tokens = 0.0
        return self._queue(name, now, rate)

    def _queue(self, name: str, now: float, rate: float) -> float:
        while (taken := self._before[int(self._free)]) and taken > rate - 1:
            self._free = int(self._free) + 1.0
        wait = self._free - now
        if len(self._turns) < self._settings.waiting:
            # A client that was told to wait long may come late by a part of its wait, so that clients do not come in
            # step. So its turn is kept longer.
            self._turns[name] = (self._free, self._free + self._settings.turn_life + wait / 2)
            self._rate = rate
            self._given[int(self._free)] += 1
            self._free += 1.0 / (rate - taken)
            self._filled = self._free
        return wait

    def wait_time(self, name: str, now: float) -> float:
        """Return in how many seconds this client should come."""
        at, _ = self._turns.get(name, (self._free, 0.0))
        return max(0.0, at - now)

    def reason(self, wait: float, rate: float) -> str:
        """Return in one line why the client must come later."""
        names = listed([name for _, name, _ in self._losses.values()]) or "a lost node"
        return (
            f"{self._coming} clients of {names} are coming back, and the nodes admit {rate:.4g} a second: "
            f"this client's turn is in {wait:.1f} s"
        )
