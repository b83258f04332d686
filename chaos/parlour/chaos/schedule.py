"""What is done to the cluster, and when: computed in advance from a seed, so that a round can be had again.

This module owns the kinds of faults and what may happen at the same time as what. It is pure; whoever carries the
faults out asks it once. It must never leave a cluster of several nodes, or several brokers, without one that is well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

__all__ = ["Fault", "Kind", "schedule"]


class Kind(StrEnum):
    """What may be done."""

    KILL_NODE = "kill-node"
    KILL_BROKER = "kill-broker"
    STOP_NODE = "stop-node"
    CUT_CONNECTION = "cut-connection"
    DROP_RELAY = "drop-relay"
    CUT_RELAY = "cut-relay"
    DRAIN = "drain"
    REBALANCE = "rebalance"
    SUSPEND_LOG = "suspend-log"
    RESTART_REDIS = "restart-redis"


FIRST = 1.0
"""Seconds of undisturbed talk at the start."""

PAUSE = (0.5, 2.5)
"""Seconds between the beginnings of two faults, at least and at most."""

LAST = 1.0
"""Seconds of talk that follow the beginning of the last fault, at least."""

RECOVERY = 4.0
"""Seconds that a process usually takes to be back after its start; a killed node's name is taken for 3."""

DRAINING = 2.0
"""Seconds that a node usually takes to move its clients and end."""

LASTS: dict[Kind, tuple[float, float]] = {
    Kind.KILL_NODE: (0.5, 4.0),
    Kind.KILL_BROKER: (0.5, 4.0),
    Kind.STOP_NODE: (1.0, 5.0),
    Kind.DROP_RELAY: (2.0, 6.0),
    # A node finds out after 6 s that a peer is silent; the shorter ones it does not notice.
    Kind.CUT_RELAY: (3.0, 12.0),
    Kind.DRAIN: (0.0, 2.0),
    Kind.SUSPEND_LOG: (5.0, 20.0),
    Kind.RESTART_REDIS: (0.1, 2.0),
}
"""Seconds, at least and at most, that a fault lasts: something is away or halted, or the relay loses batches."""

BUSY: dict[Kind, float] = {
    Kind.KILL_NODE: RECOVERY,
    Kind.KILL_BROKER: RECOVERY,
    Kind.STOP_NODE: 2.0,
    Kind.DROP_RELAY: DRAINING + RECOVERY,
    Kind.CUT_RELAY: 2.0,
    Kind.DRAIN: DRAINING + RECOVERY,
    # While the log is away nobody can say anything: there has to be some talk in between.
    Kind.SUSPEND_LOG: 10.0,
    Kind.RESTART_REDIS: RECOVERY,
}
"""Seconds besides for which nothing else is planned for what a fault was done to; but it is waited for."""

CUT_AT_MOST = 10
"""One client in so many is cut off at once, at most."""

_NODES = {Kind.KILL_NODE, Kind.STOP_NODE, Kind.DROP_RELAY, Kind.DRAIN}

_LOGS = {Kind.SUSPEND_LOG, Kind.RESTART_REDIS}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to be done."""

    at: float
    """Seconds after the talk began."""
    kind: Kind
    targets: tuple[int, ...]
    """The node or broker that it is done to, the node that cannot hear and the one that it cannot hear, or the clients
    that are cut off, counted from 1; else nothing."""
    seconds: float
    """How long it lasts: something is away or halted, the relay loses batches; 0 for what is over at once, infinite for
    what lasts until the round is over."""
    upwards: bool = False
    """Whether it is the clients' half of a connection that ends in the middle of a frame, and not the node's."""
    mutual: bool = False
    """Whether neither of two nodes hears the other."""
    silent: bool = False
    """Whether a relay link or the log is there and does not answer, and not gone."""


def schedule(
    seed: int, kinds: Iterable[Kind], *, nodes: int, brokers: int, clients: int, duration: float
) -> list[Fault]:
    """Return the faults for a talk of `duration` seconds, in order: the same for the same arguments."""
    return list(_Dealer(random.Random(seed), sorted(kinds), nodes, brokers, clients).deal(duration))


class _Dealer:
    """Deals the kinds like cards, so that each has its turn; while parts recover, those that need none have more."""

    def __init__(self, chance: random.Random, kinds: Sequence[Kind], nodes: int, brokers: int, clients: int) -> None:
        self._chance = chance
        self._kinds = kinds
        self._clients = clients
        # The links between two nodes, by a number.
        self._links = dict(enumerate(combinations(range(1, nodes + 1), 2)))
        # When each node, broker, link or log is well again.
        self._well = {
            "node": dict.fromkeys(range(1, nodes + 1), 0.0),
            "broker": dict.fromkeys(range(1, brokers + 1), 0.0),
            "link": dict.fromkeys(self._links, 0.0),
            "log": {0: 0.0},
        }
        self._deck: list[Kind] = []

    def deal(self, duration: float) -> Iterator[Fault]:
        """Yield fault after fault until the time is up."""
        if Kind.CUT_RELAY in self._kinds and self._links:
            yield self._never_linked()
        now = FIRST
        while self._kinds and now <= duration - LAST:
            fault = self._next(now)
            if fault is not None:
                yield fault
            now += self._chance.uniform(*PAUSE)

    def _next(self, now: float) -> Fault | None:
        if not self._deck:
            self._deck = self._chance.sample(self._kinds, len(self._kinds))
        # What cannot be done now keeps its turn; what was never possible in this time must not hold up the others.
        for kind in (*self._deck, *self._kinds):
            targets = self._targets(kind, now)
            if targets is not None:
                break
        else:
            return None
        if kind in self._deck:
            self._deck.remove(kind)
        seconds = self._chance.uniform(*LASTS[kind]) if kind in LASTS else 0.0
        if kind in BUSY:
            self._parts(kind)[targets[0]] = now + seconds + BUSY[kind]
        if kind is Kind.CUT_RELAY:
            return self._unlinked(now, targets[0], seconds)
        upwards = kind is Kind.CUT_CONNECTION and self._chance.random() < 0.5
        silent = kind is Kind.SUSPEND_LOG and self._chance.random() < 0.5
        return Fault(now, kind, targets if kind not in _LOGS else (), seconds, upwards, silent=silent)

    def _never_linked(self) -> Fault:
        """Return the fault that two nodes cannot reach each other from the start on, for a while or for good."""
        number = self._chance.choice(list(self._links))
        seconds = self._chance.choice((self._chance.uniform(*LASTS[Kind.CUT_RELAY]), math.inf))
        self._well["link"][number] = seconds + BUSY[Kind.CUT_RELAY]
        return self._unlinked(0.0, number, seconds)

    def _unlinked(self, at: float, number: int, seconds: float) -> Fault:
        nodes = tuple(self._chance.sample(self._links[number], 2))
        mutual, silent = (self._chance.random() < 0.5 for _ in range(2))
        return Fault(at, Kind.CUT_RELAY, nodes, seconds, mutual=mutual, silent=silent)

    def _parts(self, kind: Kind) -> dict[int, float]:
        if kind in _NODES:
            return self._well["node"]
        if kind in _LOGS:
            return self._well["log"]
        return self._well["broker" if kind is Kind.KILL_BROKER else "link"]

    def _targets(self, kind: Kind, now: float) -> tuple[int, ...] | None:
        """Return to what it can be done now, drawn by lot; None if to nothing."""
        if kind is Kind.REBALANCE:
            return ()
        if kind is Kind.CUT_CONNECTION:
            count = self._chance.randint(1, max(1, self._clients // CUT_AT_MOST))
            return tuple(sorted(self._chance.sample(range(1, self._clients + 1), count)))
        parts = self._parts(kind)
        well = [number for number, since in parts.items() if since <= now]
        if len(well) < min(2, max(1, len(parts))):
            return None
        return (self._chance.choice(well),)
