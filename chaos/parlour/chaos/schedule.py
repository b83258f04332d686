"""The schedule of faults: what is done to the cluster and when, computed from a seed, so that a round can be repeated.

This module owns the kinds of faults, and which faults may overlap. It is pure; the round asks it once. It must never
plan faults for all nodes, or all brokers, at the same time if there are several.
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
    """The kinds of faults."""

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
"""Seconds of talk before the first fault."""

PAUSE = (0.5, 2.5)
"""Seconds between the beginnings of two faults, at least and at most."""

LAST = 1.0
"""Seconds of talk after the beginning of the last fault, at least."""

RECOVERY = 4.0
"""Seconds that a process usually takes to start; the name of a killed node is taken for 3 of them."""

DRAINING = 2.0
"""Seconds that a draining node usually takes to move its clients and to end."""

LASTS: dict[Kind, tuple[float, float]] = {
    Kind.KILL_NODE: (0.5, 4.0),
    Kind.KILL_BROKER: (0.5, 4.0),
    Kind.STOP_NODE: (1.0, 5.0),
    Kind.DROP_RELAY: (2.0, 6.0),
    # A node notices after 6 s that a peer is silent; some cuts are shorter than that.
    Kind.CUT_RELAY: (3.0, 12.0),
    Kind.DRAIN: (0.0, 2.0),
    Kind.SUSPEND_LOG: (5.0, 20.0),
    Kind.RESTART_REDIS: (0.1, 2.0),
}
"""Seconds, at least and at most, for which a part is away or halted, or the relay loses batches."""

BUSY: dict[Kind, float] = {
    Kind.KILL_NODE: RECOVERY,
    Kind.KILL_BROKER: RECOVERY,
    Kind.STOP_NODE: 2.0,
    Kind.DROP_RELAY: DRAINING + RECOVERY,
    Kind.CUT_RELAY: 2.0,
    Kind.DRAIN: DRAINING + RECOVERY,
    # Nothing can be posted while the log is away: there must be some talk in between.
    Kind.SUSPEND_LOG: 10.0,
    Kind.RESTART_REDIS: RECOVERY,
}
"""Seconds after a fault for which no other is planned for the same part; the director also waits for the part."""

CUT_AT_MOST = 10
"""At most one client in so many is cut off at the same time."""

_NODES = {Kind.KILL_NODE, Kind.STOP_NODE, Kind.DROP_RELAY, Kind.DRAIN}

_LOGS = {Kind.SUSPEND_LOG, Kind.RESTART_REDIS}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to be done."""

    at: float
    """Seconds from the beginning of the talk."""
    kind: Kind
    targets: tuple[int, ...]
    """The numbers, from 1, of the node or broker, of the clients to cut off, or of the node that cannot hear and the
    node that it cannot hear; empty for other kinds."""
    seconds: float
    """How long it lasts; 0 if it is over at once, infinite if it lasts until the round is over."""
    upwards: bool = False
    """Whether a cut connection ends in the middle of a message of the client, and not of the node."""
    mutual: bool = False
    """Whether the link is cut in both directions."""
    silent: bool = False
    """Whether the relay link or the log does not answer; else it is gone."""


def schedule(
    seed: int, kinds: Iterable[Kind], *, nodes: int, brokers: int, clients: int, duration: float
) -> list[Fault]:
    """Return the faults for a talk of `duration` seconds, in order; the same arguments give the same faults."""
    return list(_Dealer(random.Random(seed), sorted(kinds), nodes, brokers, clients).deal(duration))


class _Dealer:
    """Deals the kinds of faults like cards, so that each has its turn.

    While all parts recover, kinds that need no part come more often.
    """

    def __init__(self, chance: random.Random, kinds: Sequence[Kind], nodes: int, brokers: int, clients: int) -> None:
        self._chance = chance
        self._kinds = kinds
        self._clients = clients
        # The pairs of nodes, by a number.
        self._links = dict(enumerate(combinations(range(1, nodes + 1), 2)))
        # When each node, broker, link or log is well again, in seconds.
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
        # A kind that cannot be done now keeps its turn, and must not hold up the others.
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
        """Return a fault that cuts a link from the start on, for a while or for the whole round."""
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
        """Return targets drawn from those to which this kind can be done now; None if there are none."""
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
