"""Who goes where, and who is there: the fleet as its reports tell it, and the choice of a node for each client.

This module owns all the thinking of a broker. It is pure: events and a clock (`now`, monotonic seconds) go in,
decisions come out, on whatever one thread runs it. It must never do I/O, read a clock, roll dice, or look at every
node to choose one.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice

from parlour.broker.history import History
from parlour.broker.nodes import Node
from parlour.broker.rotation import Rotation
from parlour.broker.settings import BrokerSettings
from parlour.wire.control import Assign, Candidate, Decision, NodeState, Peer, Refusal, Report
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, check_protocol

__all__ = ["Balancer", "Changes"]

_NOBODY = "no chat node is alive: start one with `parlour node`"


@dataclass(frozen=True)
class Changes:
    """What the passing of time has changed: nodes held for lost now, and how many tickets expired unredeemed."""

    lost: list[str]
    expired: int


class Balancer:
    """Dynamic round-robin over the nodes that report.

    Chosen is, among the nodes that are alive, not draining and not full, the next in rotation of those with the
    lowest load: clients of the last report, plus clients assigned since that have not shown up yet, plus the credit
    of a slow start, divided by the node's weight, which is its capacity. All state is rebuilt from reports alone.
    """

    def __init__(self, settings: BrokerSettings | None = None) -> None:
        self._settings = settings or BrokerSettings()
        self._nodes: dict[str, Node] = {}
        # The room log that all live nodes share; None while there is none.
        self._log: str | None = None
        # Every live node is in exactly one of these three.
        self._open = Rotation()
        self._full: dict[str, Node] = {}
        self._draining: dict[str, Node] = {}
        # Clients and weight of all nodes that are not draining: the mean load without a walk over the fleet.
        self._carried = 0
        self._weight = 0
        # Tickets neither redeemed nor expired, oldest first: all live equally long, so they expire in this order.
        self._tickets: OrderedDict[str, tuple[float, Node]] = OrderedDict()
        # When to look whether a node has fallen silent. One entry per node is valid, that of its `due`; a report
        # costs nothing here, for the entry is moved only when its time comes.
        self._watch: list[tuple[float, int, Node]] = []
        self._watched = 0
        self._past: OrderedDict[str, tuple[float, str, Node]] = OrderedDict()
        self._history = History(self._settings.remembered, self._settings.remembered_each)
        self._turn = 0
        self._longest_interval = 0.0
        self.version = 0
        """Counts the changes of the roster."""
        self.assigned = 0
        """Clients that were given a node."""
        self.refused = 0
        """Clients that were given none."""

    def __len__(self) -> int:
        return len(self._nodes)

    # --- reports ---------------------------------------------------------------------------------------------

    def report(self, report: Report, now: float) -> Refusal | None:
        """Take a node's report, its enrolment if it is new; return why not, if it may not be in this fleet."""
        node = self._nodes.get(report.node)
        if node is not None and now >= self._silent_at(node):
            self._leave(node, "lost", now)
            node = None
        refusal = self._objection(report, node)
        if refusal is not None:
            return refusal
        if report.stopping:
            if node is not None:
                node.report, node.heard = report, now
                self._leave(node, "gone", now)
            return None
        if node is None:
            node = self._nodes[report.node] = Node(report, now)
            self._log = report.log
            self._past.pop(report.node, None)
            self.version += 1
        else:
            self._withdraw(node)
            node.report, node.heard = report, now
        self._longest_interval = max(self._longest_interval, self._interval(report))
        for ticket in report.redeemed:
            _, owner = self._tickets.get(ticket, (0.0, None))
            if owner is node:
                del self._tickets[ticket]
                node.pending -= 1
        node.credit = self._slow_start(node, now)
        self._place(node)
        silent_at = self._silent_at(node)
        if silent_at < node.due:
            self._look_at(node, silent_at)
        return None

    def _objection(self, report: Report, node: Node | None) -> Refusal | None:
        def refuse(code: str, text: str) -> Refusal:
            return Refusal(node=report.node, instance=report.instance, text=text, code=code)

        try:
            check_protocol(report.protocol)
        except UsageError as error:
            return refuse("bad_version", f"node {report.node}: {error}")
        if node is not None and node.report.instance != report.instance:
            return refuse(
                "name_taken",
                f"a node named {report.node} is already in the fleet at {node.report.address}: choose another --name",
            )
        if self._log is not None and self._log != report.log:
            return refuse(
                "other_log",
                f"node {report.node} uses another room log ({report.log}) than the fleet ({self._log}): "
                "start it with the --log of the others",
            )
        return None

    def _slow_start(self, node: Node, now: float) -> float:
        """Return the credit of a node that is out of the rotation at this moment, in phantom clients.

        An empty node that joins a fleet of busy ones has by far the lowest load, and would be sent every client that
        comes until it has caught up: all of a storm of arrivals to the node that is coldest. The credit lifts it to
        the mean load of the others, where it gets its share and no more; it melts away over `slow_start` seconds, so
        that the node catches up little by little. A node at or above the mean gets none, so nothing changes in a
        fleet that carries nothing, and nodes that start together never drift apart: of two nodes whose clients
        differ by one, the credit is less than one client, too little to make the difference two.
        """
        age = now - node.joined
        if age >= self._settings.slow_start or not self._weight:
            return 0.0
        behind = self._carried / self._weight - node.held / node.weight
        return max(0.0, behind) * (1 - age / self._settings.slow_start) * node.weight

    # --- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> Changes:
        """Let go of nodes that fell silent, of tickets that expired, and of nodes that left long ago."""
        lost: list[str] = []
        while self._watch and self._watch[0][0] <= now:
            due, _, node = heapq.heappop(self._watch)
            if self._nodes.get(node.name) is not node or due != node.due:
                continue
            silent_at = self._silent_at(node)
            if silent_at > now:
                self._look_at(node, silent_at)
            else:
                self._leave(node, "lost", now)
                lost.append(node.name)
        expired = 0
        while self._tickets:
            ticket = next(iter(self._tickets))
            expires, node = self._tickets[ticket]
            if expires > now:
                break
            del self._tickets[ticket]
            node.pending -= 1
            expired += 1
            if self._nodes.get(node.name) is node:
                self._withdraw(node)
                self._place(node)
        while self._past and next(iter(self._past.values()))[0] <= now - self._settings.lost_for:
            self._past.popitem(last=False)
        return Changes(lost, expired)

    def next_deadline(self, now: float) -> float | None:
        """Return when `tick` has something to look at next, not before `now`, or None while there is nothing."""
        times = [due for due, _, _ in self._watch[:1]] + [due for due, _ in islice(self._tickets.values(), 1)]
        return max(now, min(times)) if times else None

    # --- decisions -------------------------------------------------------------------------------------------

    def assign(self, request: Assign, now: float, ticket_id: str, at: int = 0) -> Decision:
        """Choose a node for the client and count the client there until the ticket is redeemed or expires.

        `at` is the time of day, in milliseconds since the Unix epoch, that the decision is to carry.
        """
        self.tick(now)
        failed = {name for name in request.failed if name in self._nodes}
        best = self._lowest(failed)
        if request.node is not None:
            chosen, code, reason = self._named(request.node, failed)
        elif best:
            chosen, code, reason = best[0], "", self._praise(best, failed)
        else:
            chosen, (code, reason) = None, self._lament(failed)
        candidates = self._candidates(best, request.node, failed, now)
        decision = Decision(
            at=at,
            name=request.name,
            room=request.room,
            node=None if chosen is None else chosen.name,
            reason=reason,
            candidates=candidates,
            others=len(self._nodes) - len(candidates),
            code=code,
        )
        if chosen is None:
            self.refused += 1
        else:
            self.assigned += 1
            self._turn += 1
            self._withdraw(chosen)
            chosen.turn = self._turn
            chosen.pending += 1
            self._tickets[ticket_id] = (now + self._settings.ticket_life, chosen)
            self._place(chosen)
        self._history.add(decision)
        return decision

    def _lowest(self, failed: set[str]) -> list[Node]:
        """Return the first few that can take a client; looks at no more nodes than these and those that failed."""
        takers = (self._nodes[name] for _, _, name in self._open if name not in failed)
        return list(islice(takers, self._settings.candidates))

    def _named(self, name: str, failed: set[str]) -> tuple[Node | None, str, str]:
        node = self._nodes.get(name)
        if node is None:
            # The name is the client's, of any length, and the reason is kept.
            shown = name[:MAX_NAME]
            return None, "no_node", f"there is no node named {shown!r} in the fleet: `parlour status` lists them"
        note = self._note(node, failed)
        if note:
            return None, "full" if name in self._full else "no_node", f"node {name} was asked for, but {note}"
        return node, "", f"node {name} was asked for"

    def _praise(self, best: list[Node], failed: set[str]) -> str:
        chosen = best[0]
        if len(best) == 1:
            reason = "the only node that can take a client"
        elif best[1].load == chosen.load:
            reason = f"next in turn of those with the lowest load, {chosen.load:.4g}"
        else:
            reason = f"the lowest load, {chosen.load:.4g}"
        return f"{reason}, but for {_join(sorted(failed))}, which the client could not reach" if failed else reason

    def _lament(self, failed: set[str]) -> tuple[str, str]:
        """Return the code and the reason when no node can take the client."""
        if not self._nodes:
            return "no_node", _NOBODY
        full = len(self._full) - sum(name in self._full for name in failed)
        draining = len(self._draining) - sum(name in self._draining for name in failed)
        counts = ((full, "full"), (draining, "draining"), (len(failed), "out of the client's reach"))
        state = ", ".join(f"{count} {word}" for count, word in counts if count)
        text = f"none of the {len(self._nodes)} nodes can take a client ({state}): try again, or start another node"
        return "full" if full else "no_node", text

    def _note(self, node: Node, failed: Iterable[str]) -> str:
        """Return why the node cannot be taken, or nothing if it can."""
        if node.name in failed:
            return "the client could not reach it"
        if node.name in self._draining:
            return "it is draining"
        if node.name in self._full:
            return f"it is full ({node.held} of {node.report.capacity})"
        return ""

    def _candidates(self, best: list[Node], asked: str | None, failed: set[str], now: float) -> list[Candidate]:
        """Return what the decision lists: those that could have been taken, then some that could not, with a note."""
        limit = self._settings.candidates
        skipped = sorted(failed)[:limit]
        # Full and draining nodes only fill what room the others leave.
        closed = chain(islice(self._full, limit), islice(self._draining, limit))
        rest = islice((name for name in closed if name not in failed), limit - len(best))
        names = chain((node.name for node in best), [asked] if asked in self._nodes else [], skipped, rest)
        listed = {name: self._nodes[name] for name in names if name is not None}
        return [
            Candidate(
                node=node.name,
                load=node.load,
                clients=node.clients,
                pending=node.pending,
                capacity=node.report.capacity,
                age=max(0.0, now - node.heard),
                note=self._note(node, failed),
            )
            for node in listed.values()
        ]

    # --- what others may know --------------------------------------------------------------------------------

    def why(self, subject: str) -> list[Decision]:
        """Return the decisions remembered of the client or the room of this name, newest first."""
        return self._history.find(subject)

    def address(self, name: str) -> str:
        """Return where clients connect to a live node; raises KeyError if there is none of this name."""
        return self._nodes[name].report.address

    def silence(self, name: str, now: float) -> float:
        """Return for how many more seconds the node of this name may be silent; 0 if there is none."""
        node = self._nodes.get(name)
        return 0.0 if node is None else max(0.0, self._silent_at(node) - now)

    def peers(self) -> list[Peer]:
        """Return what nodes need to know of each live node."""
        reports = (node.report for node in self._nodes.values())
        return [Peer(node=report.node, instance=report.instance, relay=report.relay) for report in reports]

    def settled(self, uptime: float) -> bool:
        """Whether a broker that has been up for so many seconds should have heard every node that there is."""
        return uptime >= max(self._settings.settle, self._settings.missed_reports * self._longest_interval)

    def status(self, now: float) -> list[NodeState]:
        """Return every live node and those that left within the last minute, by name."""
        alive = [(node, self._state(node, now)) for node in self._nodes.values()]
        past = [(node, state) for _, state, node in self._past.values()]
        return [
            NodeState(report=node.report, age=max(0.0, now - node.heard), state=state, pending=node.pending)
            for node, state in sorted(alive + past, key=lambda entry: entry[0].name)
        ]

    def _state(self, node: Node, now: float) -> str:
        if now - node.heard > 2 * self._interval(node.report):
            return "late"
        if node.name in self._draining:
            return "draining"
        return "full" if node.name in self._full else "ok"

    # --- bookkeeping -----------------------------------------------------------------------------------------

    def _place(self, node: Node) -> None:
        """Put the node where its state says; it must have been withdrawn before anything of it was changed."""
        if node.report.draining:
            self._draining[node.name] = node
            return
        node.counted = (node.held, node.weight)
        self._carried += node.held
        self._weight += node.weight
        if node.full:
            self._full[node.name] = node
        else:
            node.key = (node.load, node.turn, node.name)
            self._open.add(node.key)

    def _withdraw(self, node: Node) -> None:
        if node.key is not None:
            self._open.remove(node.key)
            node.key = None
        else:
            self._full.pop(node.name, None)
            self._draining.pop(node.name, None)
        held, weight = node.counted
        self._carried -= held
        self._weight -= weight
        node.counted = (0, 0)

    def _leave(self, node: Node, state: str, now: float) -> None:
        """Take the node out of the fleet; its tickets stay until they expire, and count for nobody."""
        self._withdraw(node)
        del self._nodes[node.name]
        if not self._nodes:
            self._log = None
        self._past.pop(node.name, None)
        self._past[node.name] = (now, state, node)
        if len(self._past) > self._settings.remembered:
            self._past.popitem(last=False)
        self.version += 1

    def _look_at(self, node: Node, due: float) -> None:
        self._watched += 1
        node.due = due
        heapq.heappush(self._watch, (due, self._watched, node))

    def _interval(self, report: Report) -> float:
        # In this order a NaN becomes the shortest interval.
        return min(self._settings.longest_interval, max(self._settings.shortest_interval, report.interval))

    def _silent_at(self, node: Node) -> float:
        return node.heard + self._settings.missed_reports * self._interval(node.report)


def _join(names: list[str], limit: int = 8) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
