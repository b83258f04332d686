"""The nodes of the fleet, sorted by whether they can take a client, and the nodes that left lately.

This module owns the place of each node, the sums over the fleet, and the check for silent nodes. It is pure and belongs
to the one thread that runs its balancer. It must never look at all nodes to find the first that can take a client.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from itertools import chain, islice

from parlour.broker.liveness import LivenessDeadlines
from parlour.broker.nodes import FleetNode, NodeSnapshot
from parlour.broker.rotation import Rotation
from parlour.broker.settings import BrokerSettings
from parlour.wire.control import NodeState, Peer, Report

__all__ = ["FleetTable"]


class FleetTable:
    """The nodes of one fleet.

    To change a node, `withdraw` it, change it, and `place` it again: its place and the sums follow from its figures.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self.nodes: dict[str, FleetNode] = {}
        """The live nodes by name; only this class changes it."""
        # Every live node is in exactly one of these three.
        self._open: Rotation[NodeSnapshot] = Rotation()
        self._full: dict[str, FleetNode] = {}
        self._draining: dict[str, FleetNode] = {}
        # Clients and weight of all nodes that are not draining: they give the mean load without a walk over the fleet.
        self._held = 0
        self._weight = 0
        self._deadlines = LivenessDeadlines()
        # By name, oldest first: when the node left, its state, and its record.
        self._past: OrderedDict[str, tuple[float, str, FleetNode]] = OrderedDict()
        self._longest_interval = 0.0
        self.log: str | None = None
        """The room log that all live nodes share; None without nodes."""
        self.admits = 0.0
        """New clients per second that the nodes with free places admit together, without those out of reach."""
        self.version = 0
        """Counts the changes of the node list."""

    # --- joining and leaving ---------------------------------------------------------------------------------

    def add(self, report: Report, now: float) -> FleetNode:
        """Add a node and return its record, which is not placed yet.

        A node that was lost and speaks again keeps its record, with its tickets: it was only silent for a while.
        """
        _, state, node = self._past.pop(report.node, (0.0, "", None))
        if node is None or state != "lost" or node.report.instance != report.instance:
            node = FleetNode(report, now)
        self.nodes[report.node] = node
        self.log = report.log
        self.version += 1
        return node

    def remove(self, node: FleetNode, state: str, now: float) -> None:
        """Take the node out of the fleet; `status` still lists it for a while, in this state."""
        self.withdraw(node)
        node.due = float("inf")
        del self.nodes[node.name]
        if not self.nodes:
            self.log = None
        self._past.pop(node.name, None)
        self._past[node.name] = (now, state, node)
        if len(self._past) > self._settings.remembered:
            self._past.popitem(last=False)
        self.version += 1

    def remove_silent(self, now: float) -> list[FleetNode]:
        """Remove the nodes that have fallen silent, and return them; forget nodes that left long ago."""
        lost: list[FleetNode] = []
        while (node := self._deadlines.pop(now)) is not None:
            silent_at = self.silent_at(node)
            if silent_at > now:
                self._deadlines.set(node, silent_at)
            else:
                self.remove(node, "lost", now)
                lost.append(node)
        while self._past and next(iter(self._past.values()))[0] <= now - self._settings.lost_for:
            self._past.popitem(last=False)
        return lost

    def next_check(self) -> float | None:
        """Return when `remove_silent` has something to do next, or None if there is no node."""
        return self._deadlines.next()

    def check_silence(self, node: FleetNode) -> None:
        """Have `remove_silent` check the node in time; called after each of its reports."""
        self._longest_interval = max(self._longest_interval, self.interval(node.report))
        silent_at = self.silent_at(node)
        if silent_at < node.due:
            self._deadlines.set(node, silent_at)

    def silent_at(self, node: FleetNode) -> float:
        """Return when the node counts as lost unless it reports again."""
        return node.heard + self._settings.missed_reports * self.interval(node.report)

    def silence_left(self, name: str, now: float) -> float:
        """Return for how many more seconds the node of this name may be silent; 0 if there is none."""
        node = self.nodes.get(name)
        return 0.0 if node is None else max(0.0, self.silent_at(node) - now)

    def interval(self, report: Report) -> float:
        """Return the seconds between two reports of this node, within the bounds of the settings."""
        # In this order of arguments a NaN becomes the shortest interval.
        return min(self._settings.longest_interval, max(self._settings.shortest_interval, report.interval))

    # --- places ----------------------------------------------------------------------------------------------

    def place(self, node: FleetNode) -> None:
        """Put the node in the place that its state demands; it must be withdrawn."""
        snapshot = node.take_snapshot()
        if snapshot.state == "draining":
            self._draining[node.name] = node
            return
        if snapshot.state == "full":
            self._full[node.name] = node
        else:
            self._open.add(snapshot)
        cut_off = len(node.missed_by) >= self._settings.cut_off
        admits = 0.0 if snapshot.state == "full" or cut_off else node.admits
        self._contribute(node, node.held, node.weight, admits)

    def withdraw(self, node: FleetNode) -> None:
        """Take the node out of its place, so that it can be changed."""
        state = node.snapshot.state
        if state == "ok":
            self._open.remove(node.snapshot)
        else:
            del (self._full if state == "full" else self._draining)[node.name]
        self._contribute(node, 0, 0, 0.0)

    def _contribute(self, node: FleetNode, held: int, weight: int, admits: float) -> None:
        """Replace what the node adds to the fleet's sums."""
        before_held, before_weight, before_admits = node.contribution
        self._held += held - before_held
        self._weight += weight - before_weight
        self.admits += admits - before_admits
        node.contribution = (held, weight, admits)

    @property
    def mean_load(self) -> float:
        """Clients ÷ weight of all nodes that are not draining."""
        return self._held / self._weight if self._weight else 0.0

    # --- look-ups --------------------------------------------------------------------------------------------

    def lowest(self, limit: int, failed: Collection[str]) -> list[NodeSnapshot]:
        """Return the first nodes that can take a client; looks at no more nodes than these and the failed ones."""
        if not failed:
            return self._open.first(limit)
        return [snapshot for snapshot in self._open.first(limit + len(failed)) if snapshot.node not in failed][:limit]

    def open_nodes(self, failed: Collection[str]) -> Iterator[FleetNode]:
        """Yield the nodes that can take a client, in order, without the failed ones."""
        return (self.nodes[snapshot.node] for snapshot in self._open if snapshot.node not in failed)

    def closed(self, limit: int) -> Iterator[str]:
        """Yield the names of some full nodes, then of some draining ones, at most `limit` of each."""
        return chain(islice(self._full, limit), islice(self._draining, limit))

    def count_closed(self, failed: Collection[str]) -> tuple[int, int]:
        """Return how many nodes are full and how many are draining, without the failed ones."""
        full = len(self._full) - sum(name in self._full for name in failed)
        draining = len(self._draining) - sum(name in self._draining for name in failed)
        return full, draining

    def present(self, now: float) -> list[FleetNode]:
        """Return the live nodes that are neither draining nor late."""
        return [node for node in self.nodes.values() if self._state(node, now) in ("ok", "full")]

    def peers(self) -> list[Peer]:
        """Return what nodes need to know of each live node."""
        reports = (node.report for node in self.nodes.values())
        return [Peer(node=report.node, instance=report.instance, relay=report.relay) for report in reports]

    def settled(self, uptime: float) -> bool:
        """Whether a broker that has run for `uptime` seconds must have heard every node that exists."""
        return uptime >= max(self._settings.settle, self._settings.missed_reports * self._longest_interval)

    def status(self, now: float) -> list[NodeState]:
        """Return every live node and those that left within the last minute, by name."""
        alive = [(node, self._state(node, now)) for node in self.nodes.values()]
        past = [(node, state) for _, state, node in self._past.values()]
        return [
            NodeState(report=node.report, age=max(0.0, now - node.heard), state=state, pending=node.pending)
            for node, state in sorted(alive + past, key=lambda entry: entry[0].name)
        ]

    def _state(self, node: FleetNode, now: float) -> str:
        if now - node.heard > 2 * self.interval(node.report):
            return "late"
        return node.snapshot.state
