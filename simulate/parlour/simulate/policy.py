"""What a policy is, and those that others use: in turn, to the least loaded, to the better of two.

This module owns the policies that parlour's own is compared with. Each belongs to the one thread of its simulation,
with a clock passed in. They must never know more than the same reports tell to all.
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
"""Reports that a node may miss before it counts as gone, as in the broker's settings."""

_Key = tuple[float, int, str]
"""What nodes are ordered by, a number to break ties, and the node's name."""

_AGAIN = 1.0
"""Seconds after which a client that found no node is told to ask again."""


class Answer(NamedTuple):
    """What a client is told."""

    node: str | None
    """Where to go; None if nowhere now."""
    ticket: str = ""
    """What the node is to report as redeemed."""
    retry_after: float = _AGAIN
    """Seconds after which to ask again, if there is no node."""


class Policy(Protocol):
    """Who goes where, as far as the reports tell."""

    def report(self, report: Report, now: float) -> None:
        """Take a report that has arrived."""

    def assign(self, request: Assign, now: float) -> Answer:
        """Choose a node for a client."""
        ...

    def orders(self, now: float) -> list[Order]:
        """Return which nodes are to move clients away; asked often."""
        ...


class _ReportedNodes(ABC):
    """What the simple policies have in common: the nodes heard of lately that can take a client."""

    def __init__(self) -> None:
        # By name, the one heard of longest ago first.
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
        """Take a node among those that are chosen from."""

    @abstractmethod
    def _close(self, name: str) -> None:
        """Take it out, if it is there."""

    @abstractmethod
    def _choose(self, failed: list[str]) -> str | None:
        """Return the name of a node that did not fail, if there is one."""


class _Sorted(_ReportedNodes):
    """The nodes in an order, of which the first is taken."""

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
    """One after the other, a node of twice the capacity twice as often, however many clients their reports show."""

    def __init__(self) -> None:
        super().__init__()
        # By name, how far each has come: it advances by 1 ÷ capacity each time, and the last comes next.
        self._stride: dict[str, float] = {}
        self._now = 0.0

    def _open(self, report: Report) -> None:
        # Who was away does not make up for it.
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
    """The node whose last report shows the least clients ÷ capacity, until the next report."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _open(self, report: Report) -> None:
        self._put((report.clients / report.capacity, self._chance.getrandbits(32), report.node))


class TwoChoices(_ReportedNodes):
    """Of two nodes drawn at random, the one whose last report shows less clients ÷ capacity (Mitzenmacher 1996)."""

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
