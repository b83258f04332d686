"""Storms: the clients of a node that died come back all at once, and are given turns at the pace of those that live.

This module owns the losses of the last moments and the turns given out. It is pure, with a clock passed in, and
belongs to the one thread that runs its balancer. It must never hold anybody up while no node has been lost.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from parlour.broker.reasons import listed
from parlour.broker.settings import BrokerSettings
from parlour.wire.control import Report

__all__ = ["Storm"]

_EARLY = 0.05
"""Seconds before its turn at which a client is let in: clocks are read at both ends."""


class Storm:
    """A token bucket with a queue behind it.

    The nodes together take `rate` clients a second. One second's worth of them is let in as they come; when it is
    spent, everybody else gets a turn of its own, the first a second later and then one every 1 ÷ rate seconds. A
    turn is kept for the client's name, so that who comes when it was told to is let in, whoever else pushes. When
    the nodes take more than before, the next turns are again a second away, in between those that were given out.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        # By instance, oldest first: when it was lost, its name, and the clients that it had.
        self._losses: OrderedDict[str, tuple[float, str, int]] = OrderedDict()
        self._coming = 0
        # By client, in the order in which they were given: when its turn is, and until when it is kept.
        self._turns: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._free = 0.0  # the turn that the next one in the queue will get; nobody waits if it is over
        self._rate = 0.0  # at which turns were given out last
        # By the second of the clock: how many turns are in it, now and when there was room beside them first.
        self._given: Counter[int] = Counter()
        self._before: Counter[int] = Counter()
        self._tokens = 0.0
        self._filled = float("-inf")

    # --- losses ----------------------------------------------------------------------------------------------

    def node_lost(self, report: Report, clients: int, now: float) -> None:
        """A node is gone, or beyond the reach of many; its clients will come."""
        self.node_back(report)
        if not clients:
            return
        self._losses[report.instance] = (now, report.node, clients)
        self._coming += clients
        if len(self._losses) > self._settings.remembered:
            self._forget_loss()

    def node_back(self, report: Report) -> None:
        """A node that was held for lost is there, and its clients with it."""
        _, _, clients = self._losses.pop(report.instance, (0.0, "", 0))
        self._coming -= clients

    def _forget_loss(self) -> None:
        _, (_, _, clients) = self._losses.popitem(last=False)
        self._coming -= clients

    def is_active(self, now: float, rate: float) -> bool:
        """Whether turns are to be given: more clients were cut off lately than can be taken in one second."""
        while self._losses and next(iter(self._losses.values()))[0] <= now - self._settings.storm_life:
            self._forget_loss()
        while self._turns and next(iter(self._turns.values()))[1] <= now:
            self._turns.popitem(last=False)
        while self._given and next(iter(self._given)) < int(now):
            del self._given[next(iter(self._given))]
        if rate >= self._rate + 1 and self._free > now + 1.0:
            # Turns are left where they were told to be, which would be far off for everybody else: there is room
            # beside them now.
            self._rate = rate
            self._before = self._given.copy()
            self._free = self._filled = now + 1.0
        return self._coming > rate or self._free > now

    # --- turns -----------------------------------------------------------------------------------------------

    def take_turn(self, name: str, now: float, rate: float) -> float:
        """Return 0 if the client may go now, which uses its turn up; else in how many seconds its turn is."""
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
        """Return in how many seconds the client's turn is, where no node can take one more at this moment."""
        kept = self._turns.get(name)
        if kept is not None:
            if kept[0] > now + _EARLY:
                return kept[0] - now
            del self._turns[name]
        # What was let in within the last second has to be over before the next are.
        self._free = max(self._free, now + 1.0)
        self._tokens = 0.0
        return self._queue(name, now, rate)

    def _queue(self, name: str, now: float, rate: float) -> float:
        while (taken := self._before[int(self._free)]) and taken > rate - 1:
            self._free = int(self._free) + 1.0
        wait = self._free - now
        if len(self._turns) < self._settings.waiting:
            # Those who were told to wait for long may come later by some part of it, so as not to come in step.
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
        """Return why the client is to come later, in a line."""
        names = listed([name for _, name, _ in self._losses.values()]) or "a lost node"
        return (
            f"the clients of {names} come back, {self._coming} of them, and the nodes take {rate:.4g} a second: "
            f"this one's turn is in {wait:.1f} s"
        )
