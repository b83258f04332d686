"""A simulated fleet and its clients, under a clock of their own.

This module owns the clock, the future events and the count of all clients. It runs on the calling thread. It must never
read a policy's state, nor let a policy know more than reports and requests tell.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from itertools import count

from parlour.simulate.outcome import Outcome, Sample
from parlour.simulate.policy import Policy
from parlour.simulate.scenario import STAY, Outage, Scenario
from parlour.simulate.simulated_node import SimulatedNode
from parlour.wire.control import Assign, Report

__all__ = ["World"]

_TICKS = 10
"""Ticks per second. In each tick clients depart, moves go on, and a sample is taken."""

_SPARE = 1.5
"""The capacity of the whole fleet, relative to the number of clients."""

_WALK = (0.02, 0.2)
"""Least and most seconds from the broker's answer to the arrival at the node, or back from a dead node."""

_PAUSE = 0.2
"""Seconds after which a client that could not reach a node asks for another, like the library's clients."""

_INTERVAL = 1.0
"""Seconds between two reports of a node."""

_PACE = 500 // _TICKS
"""Clients that a node asks to move in one tick, like a real node."""

_DRAIN = 30.0
"""Seconds that a node drains at most."""


class _Client:
    """A client that looks for a node; when it has found one it is only counted."""

    __slots__ = ("failed", "name", "since")

    def __init__(self, name: str, since: float, failed: list[str]) -> None:
        self.name = name
        self.since = since
        self.failed = failed


class World:
    """One scenario under one policy: `run` it once.

    All randomness, except the policy's own, comes from generators made from the seed, one for each purpose. So the same
    clients come at the same times, and the same reports are late or lost, whatever the policy does.
    """

    def __init__(self, scenario: Scenario, name: str, policy: Policy, nodes: int, clients: int, seed: int) -> None:
        self.outcome = Outcome(scenario.name, name, nodes, clients, seed)
        self._scenario = scenario
        self._policy = policy
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()
        self._coming, self._leaving, self._walking = (
            random.Random(f"{seed} {purpose}") for purpose in ("coming", "leaving", "walking")
        )
        self._refused = 0
        self._moves = 0
        weights = [scenario.capacities[index % len(scenario.capacities)] for index in range(nodes)]
        self._nodes: dict[str, SimulatedNode] = {}
        start, whole, before = int(clients * scenario.present), sum(weights), 0
        for index, weight in enumerate(weights):
            capacity = int(clients * _SPARE * weight / whole) + 1
            node = SimulatedNode(f"n{index}", 0, capacity, random.Random(f"{seed} reports of n{index}"))
            node.clients = start * (before + weight) // whole - start * before // whole
            before += weight
            self._nodes[node.name] = node
        self.outcome.came = start

    # --- time ------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the scenario and return the outcome."""
        for node in self._nodes.values():
            self._join(node)
        for outage in self._scenario.outages:
            self._at(outage.at, self._begin, outage)
        for tick in range(round(self._scenario.duration * _TICKS)):
            self._until(tick / _TICKS)
            self._tick()
        self.outcome.here = sum(node.clients for node in self._nodes.values())
        return self.outcome

    def _at(self, when: float, act: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), act, arguments))

    def _until(self, when: float) -> None:
        """Run all events that are due before this moment."""
        events = self._events
        while events and events[0][0] < when:
            self._now, _, act, arguments = heapq.heappop(events)
            act(*arguments)
        self._now = when

    def _tick(self) -> None:
        now = self._now
        self._depart()
        for order in self._policy.orders(now):
            node = self._nodes[order.node]
            if not node.transfers:  # A node that still moves clients ignores orders.
                node.transfers.extend(order.moves)
        for node in self._nodes.values():
            if node.draining:
                self._drain(node)
            elif node.transfers:
                self._transfer(node)
        self._sample()
        for moment in _moments(self._coming, self._scenario.rate(now, self.outcome.clients), now):
            self.outcome.came += 1
            self.outcome.away += 1
            self._at(moment, self._ask, _Client(f"c{self.outcome.came}", moment, []))

    def _sample(self) -> None:
        serving = [node for node in self._nodes.values() if node.alive and not node.draining]
        clients = sum(node.clients for node in serving)
        mean = clients / sum(node.capacity for node in serving) if clients else 1.0
        self.outcome.samples.append(
            Sample(
                at=self._now,
                imbalance=max((node.load for node in serving), default=0.0) / mean if clients else 1.0,
                overload=max(0, *(node.clients - node.capacity for node in self._nodes.values())),
                refused=self._refused,
                moves=self._moves,
            )
        )

    # --- clients ---------------------------------------------------------------------------------------------

    def _ask(self, client: _Client) -> None:
        """A client asks where to go."""
        answer = self._policy.assign(Assign(name=client.name, failed=client.failed), self._now)
        if answer.node is None:
            self._refused += 1
            client.failed = []
            self._at(self._now + answer.retry_after, self._ask, client)
        else:
            self.outcome.assigned += 1
            self._at(self._now + self._walking.uniform(*_WALK), self._arrive, client, answer.node, answer.ticket)

    def _arrive(self, client: _Client, name: str, ticket: str) -> None:
        """A client comes to its node."""
        if self._enter(name, ticket):
            self.outcome.away -= 1
            self.outcome.waited = max(self.outcome.waited, self._now - client.since)
        else:
            client.failed.append(name)
            self._at(self._now + _PAUSE, self._ask, client)

    def _enter(self, name: str, ticket: str) -> bool:
        node = self._nodes[name]
        if node.alive:
            self.outcome.rush = max(self.outcome.rush, node.enter(ticket, self._now))
        return node.alive

    def _depart(self) -> None:
        """Let clients depart that have stayed long enough; each client is equally likely."""
        nodes = list(self._nodes.values())
        weights = [node.staying for node in nodes]
        staying = sum(weights)
        leaving = sum(1 for _ in _moments(self._leaving, staying / STAY, self._now))
        for node in self._leaving.choices(nodes, weights, k=leaving) if staying else ():
            if node.staying:
                node.clients -= 1
                self.outcome.departed += 1

    # --- moves -----------------------------------------------------------------------------------------------

    def _transfer(self, node: SimulatedNode) -> None:
        """Ask some clients to move, as ordered, at the pace of a real node."""
        left = _PACE
        while node.transfers and left:
            transfer = node.transfers.popleft()
            for asked in range(transfer.clients):
                if not left:
                    node.transfers.appendleft(type(transfer)(transfer.to, transfer.clients - asked))
                    break
                if not self._send_on(node, transfer.to):
                    break
                left -= 1

    def _drain(self, node: SimulatedNode) -> None:
        """Ask some clients to move, and stop the node when none is left."""
        for _ in range(_PACE):
            if not self._send_on(node, None):
                break
        if not node.clients:
            self._publish(node, node.report(stopping=True))
            self._stop(node)

    def _send_on(self, node: SimulatedNode, target: str | None) -> bool:
        """Ask one client to move; return whether there was a client, and a node for it."""
        if not node.staying:
            return False
        self._moves += 1
        request = Assign(name=f"m{self._moves}", node=target, failed=[node.name])
        answer = self._policy.assign(request, self._now)
        if answer.node is None:
            self._moves -= 1
            self._refused += 1
            return False
        node.moving += 1
        self._at(self._now + self._walking.uniform(*_WALK), self._move, node, answer.node, answer.ticket)
        return True

    def _move(self, source: SimulatedNode, target: str, ticket: str) -> None:
        """A client has connected to another node, and closes its old connection if that node still lives."""
        arrived = self._enter(target, ticket)
        if source.alive:
            source.moving -= 1
            source.clients -= arrived
        elif arrived:
            self.outcome.away -= 1
        else:
            self._ask(_Client(f"o{next(self._order)}", self._now, [target]))

    # --- nodes -----------------------------------------------------------------------------------------------

    def _join(self, node: SimulatedNode) -> None:
        """A node enrols and begins to report."""
        self._nodes[node.name] = node
        self._policy.report(node.report(), self._now)
        self._at(self._now + node.chance.random() * _INTERVAL, self._report, node)

    def _report(self, node: SimulatedNode) -> None:
        if node.alive:
            self._publish(node, node.report())
            self._at(self._now + _INTERVAL, self._report, node)

    def _publish(self, node: SimulatedNode, report: Report) -> None:
        """Send a report, which may be lost."""
        late, lost = node.chance.uniform(*self._scenario.delay), node.chance.random() < self._scenario.loss
        if not lost:
            node.heard = max(node.heard, self._now + late)
            self._at(node.heard, self._hear, report)

    def _hear(self, report: Report) -> None:
        self._policy.report(report, self._now)

    def _begin(self, outage: Outage) -> None:
        """Some nodes are killed, or told to drain."""
        nodes = list(self._nodes.values())
        for node in nodes[int(outage.first * len(nodes)) : int(outage.last * len(nodes))]:
            if not node.alive:
                continue
            node.away = outage.away
            if outage.drained:
                node.draining = True
                self._publish(node, node.report())
                self._at(self._now + _DRAIN, self._cut, node)
            else:
                self._cut(node)

    def _cut(self, node: SimulatedNode) -> None:
        """A node is gone; its clients that are not on their way elsewhere look for another node."""
        if not node.alive:
            return
        for _ in range(node.staying):
            when = self._now + self._walking.uniform(*_WALK)
            self._at(when, self._ask, _Client(f"o{next(self._order)}", self._now, [node.name]))
        self.outcome.away += node.clients
        self._stop(node)

    def _stop(self, node: SimulatedNode) -> None:
        """A node has stopped, and will start again."""
        node.alive = node.draining = False
        node.clients = node.moving = 0  # a client on its way looks for another node by itself
        again = SimulatedNode(node.name, node.life + 1, node.capacity, node.chance)
        self._at(self._now + node.away, self._join, again)


def _moments(chance: random.Random, rate: float, now: float) -> Iterator[float]:
    """Yield the random moments within one tick of an event that happens `rate` times a second."""
    moment = now
    while rate and (moment := moment + chance.expovariate(rate)) < now + 1 / _TICKS:
        yield moment
