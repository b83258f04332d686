"""The interface of a policy, and three common policies: round-robin, least loaded, and the better of two.

This module owns the policies with which parlour's own is compared. Each belongs to the one thread of its simulation,
with a clock passed in. A policy must never know more than the reports, which are the same for all.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import NamedTuple, Protocol

from parlour.broker.rotation import Rotation
from parlour.wire.control import Assign, Order, Report

__all__ = ["Answer", "LeastLoaded", "Policy", "RoundRobin", "TwoChoices"]

_MISSED = 3
"""Reports that a node may miss before it counts as lost, as in the broker's settings."""

_Key = tuple[float, int, str]
"""The value that orders nodes, a number to break ties, and the node's name."""

_RETRY = 1.0
"""Seconds after which a client that got no node should ask again."""


class Answer(NamedTuple):
    """The answer to a client."""

    node: str | None
    """The chosen node, or None."""
    ticket: str = ""
    """The ticket that the node reports as redeemed."""
    retry_after: float = _RETRY
    """Seconds after which to ask again if there is no node."""


class Policy(Protocol):
    """Chooses a node for each client, from the reports alone."""

    def report(self, report: Report, now: float) -> None:
        """Take a report that has arrived."""

    def assign(self, request: Assign, now: float) -> Answer:
        """Choose a node for a client."""
        ...

    def orders(self, now: float) -> list[Order]:
        """Return the orders to move clients; called in each tick."""
        ...


class _ReportedNodes(ABC):
    """Base of the simple policies: the nodes that reported lately and can take a client."""

    def __init__(self) -> None:
        # By name; the node with the oldest report comes first.
        self._heard: OrderedDict[str, tuple[float, Report]] = OrderedDict()

    def report(self, report: Report, now: float) -> None:
        if self._heard.pop(report.node, None):
            self._close(report.node)
        if report.stopping:
            return
        self._heard[report.node] = (now, report)
        if not report.draining and report.clients < report.capacity:
            self._open(report)

    def assign(self, request: Assign, now: float) -> Answer:
        while self._heard:
            name, (heard, report) = next(iter(self._heard.items()))
            if now < heard + _MISSED * report.interval:
                break
            del self._heard[name]
            self._close(name)
        return Answer(self._choose(request.failed))

    def orders(self, now: float) -> list[Order]:
        return []

    @abstractmethod
    def _open(self, report: Report) -> None:
        """Add a node to those that can be chosen."""

    @abstractmethod
    def _close(self, name: str) -> None:
        """Remove a node from them, if it is there."""

    @abstractmethod
    def _choose(self, failed: list[str]) -> str | None:
        """Return the name of a node that is not in `failed`, or None."""


class _Sorted(_ReportedNodes):
    """Keeps the nodes in order and chooses the first."""

    def __init__(self) -> None:
        super().__init__()
        self._order: Rotation[_Key] = Rotation()
        self._keys: dict[str, _Key] = {}

    def _put(self, key: _Key) -> None:
        self._keys[key[2]] = key
        self._order.add(key)

    def _close(self, name: str) -> None:
        key = self._keys.pop(name, None)
        if key is not None:
            self._order.remove(key)

    def _choose(self, failed: list[str]) -> str | None:
        return next((name for _, _, name in self._order if name not in failed), None)


class RoundRobin(_Sorted):
    """Nodes in turn, a node of twice the capacity twice as often, whatever clients their reports show."""

    def __init__(self) -> None:
        super().__init__()
        # By name: how far each node has come. A choice advances it by 1 ÷ capacity; the node furthest behind is next.
        self._stride: dict[str, float] = {}
        self._now = 0.0

    def _open(self, report: Report) -> None:
        # A node that was away does not catch up.
        came = self._stride[report.node] = max(self._now, self._stride.get(report.node, 0.0))
        self._put((came, 0, report.node))

    def _choose(self, failed: list[str]) -> str | None:
        name = super()._choose(failed)
        if name is not None:
            self._now = max(self._now, self._stride[name])
            self._stride[name] += 1 / self._heard[name][1].capacity
            self._close(name)
            self._put((self._stride[name], 0, name))
        return name


class LeastLoaded(_Sorted):
    """The node with the least clients ÷ capacity in its last report."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _open(self, report: Report) -> None:
        self._put((report.clients / report.capacity, self._chance.getrandbits(32), report.node))


class TwoChoices(_ReportedNodes):
    """Of two random nodes, the one with less clients ÷ capacity in its last report (Mitzenmacher 1996)."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._names: list[str] = []
        self._places: dict[str, int] = {}

    def _open(self, report: Report) -> None:
        self._places[report.node] = len(self._names)
        self._names.append(report.node)

    def _close(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is not None:
            last = self._names.pop()
            if last != name:
                self._names[place] = last
                self._places[last] = place

    def _choose(self, failed: list[str]) -> str | None:
        names = [name for name in self._names if name not in failed] if failed else self._names
        if not names:
            return None
        count = len(names)
        return min(names[int(self._chance.random() * count)], names[int(self._chance.random() * count)], key=self._load)

    def _load(self, name: str) -> float:
        _, report = self._heard[name]
        return report.clients / report.capacity
