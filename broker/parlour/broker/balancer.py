"""Who goes where, and who is there: the fleet as its reports tell it, and the choice of a node for each client.

This module owns all the thinking of a broker. It is pure: events and a clock (`now`, monotonic seconds) go in,
decisions come out, on whatever one thread runs it. It must never do I/O, read a clock, roll dice, or look at every
node to choose one.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, islice

from msgspec import Struct

from parlour.broker.assignment import Assignment
from parlour.broker.history import DecisionHistory
from parlour.broker.liveness import LivenessDeadlines
from parlour.broker.logvote import LogVote
from parlour.broker.nodes import FleetNode, NodeSnapshot, PendingTicket
from parlour.broker.reasons import reason_chosen, reason_excluded, reason_none, refusal_for, unknown_node
from parlour.broker.rotation import Rotation
from parlour.broker.settings import BrokerSettings
from parlour.broker.storm import Storm
from parlour.wire.control import Assign, Decision, NodeState, Peer, Refusal, Report

__all__ = ["Balancer", "Changes"]


class Changes(Struct, frozen=True):
    """What the passing of time has changed: nodes held for lost now, and how many tickets expired unredeemed."""

    lost: list[str]
    expired: int


class Balancer:
    """Dynamic round-robin over the nodes that report.

    Chosen is, among the nodes that are alive, not draining and not full, the next in rotation of those with the
    lowest load: clients of the last report, plus clients assigned since that have not shown up yet, plus the credit
    of a slow start, divided by the node's weight, which is its capacity. All state is rebuilt from reports alone.
    When the clients of a lost node come back all at once, each is let in at its turn.
    """

    def __init__(self, settings: BrokerSettings | None = None) -> None:
        self._settings = settings or BrokerSettings()
        self._nodes: dict[str, FleetNode] = {}
        # The room log that all live nodes share; None while there is none.
        self._log: str | None = None
        self._votes = LogVote()
        # Every live node is in exactly one of these three.
        self._open: Rotation[NodeSnapshot] = Rotation()
        self._full: dict[str, FleetNode] = {}
        self._draining: dict[str, FleetNode] = {}
        # Clients and weight of all nodes that are not draining: the mean load without a walk over the fleet.
        self._carried = 0
        self._weight = 0
        # New clients per second that all nodes together can take that have a place and are within reach.
        self._admits = 0.0
        self._storm = Storm(self._settings)
        # Tickets neither redeemed nor expired, oldest first: all live equally long, so they expire in this order.
        self._tickets: OrderedDict[str, PendingTicket] = OrderedDict()
        self._deadlines = LivenessDeadlines()
        self._past: OrderedDict[str, tuple[float, str, FleetNode]] = OrderedDict()
        self._history = DecisionHistory(self._settings.remembered, self._settings.remembered_each)
        self._turn = 0
        self._longest_interval = 0.0
        self.version = 0  # counts the changes of the roster
        self.assigned = 0  # clients that were given a node
        self.refused = 0  # clients that were given none

    def __len__(self) -> int:
        return len(self._nodes)

    # --- reports ---------------------------------------------------------------------------------------------

    def report(self, report: Report, now: float, enrols: bool = False) -> Refusal | None:
        """Take a node's report, its enrolment if it is new; return why not, if it may not be in this fleet.

        Where reports tell of several room logs, the one of most nodes counts. Who only `enrols` has no vote.
        """
        node = self._nodes.get(report.node)
        if node is not None and now >= self._silent_at(node):
            self._leave(node, "lost", now)
            node = None
        refusal = refusal_for(report, node, self._log, len(self._nodes))
        if refusal is not None and refusal.code != "bad_version" and report.log != self._log and not enrols:
            until = now + self._settings.missed_reports * self._interval(report)
            if self._votes.outvotes(report, len(self._nodes), now, until):
                self._disband(now)
                node = refusal = None
        if refusal is not None:
            return refusal
        if report.stopping:
            if node is not None:
                node.hear(report, now)  # first: its last word tells how many it cut off, who alone will come back
                self._leave(node, "gone", now)
            return None
        if node is None:
            node = self._nodes[report.node] = self._newcomer(report, now)
            self._log = report.log
            self._storm.node_back(report)
            self.version += 1
        else:
            self._withdraw(node)
        node.hear(report, now)
        node.missed.clear()
        # A node that speaks for itself needs no order any more; one that does not listen is no use idle.
        if report.draining or (node.drain_by is not None and now >= node.drain_by + self._settings.drain_lapse):
            node.drain_by = None
        self._longest_interval = max(self._longest_interval, self._interval(report))
        for ticket in report.redeemed:
            ticket_entry = self._tickets.get(ticket)
            if ticket_entry is not None and ticket_entry.node is node:
                self._tickets.pop(ticket).end()
        mean = self._carried / self._weight if self._weight else 0.0
        span = self._settings.slow_start
        node.slow_start(mean, (now - node.joined) / span if span else 1.0)
        self._place(node)
        silent_at = self._silent_at(node)
        if silent_at < node.due:
            self._deadlines.set(node, silent_at)
        return None

    def _newcomer(self, report: Report, now: float) -> FleetNode:
        """Return a record for the node: that of before, tickets and all, if it was only not heard for a while."""
        _, state, node = self._past.pop(report.node, (0.0, "", None))
        if node is not None and state == "lost" and node.report.instance == report.instance:
            return node
        return FleetNode(report, now)

    # --- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> Changes:
        """Let go of nodes that fell silent, of tickets that expired, and of nodes that left long ago."""
        lost: list[str] = []
        while (node := self._deadlines.pop(now)) is not None:
            silent_at = self._silent_at(node)
            if silent_at > now:
                self._deadlines.set(node, silent_at)
            else:
                self._leave(node, "lost", now)
                lost.append(node.name)
        expired = 0
        while self._tickets:
            ticket, ticket_entry = next(iter(self._tickets.items()))
            if ticket_entry.expires > now:
                break
            self._tickets.pop(ticket).end()
            node = ticket_entry.node
            expired += 1
            if self._nodes.get(node.name) is node:
                self._withdraw(node)
                self._place(node)
        while self._past and next(iter(self._past.values()))[0] <= now - self._settings.lost_for:
            self._past.popitem(last=False)
        return Changes(lost, expired)

    def next_deadline(self, now: float) -> float | None:
        """Return when `tick` has something to look at next, not before `now`, or None while there is nothing."""
        times = [self._deadlines.next(), *(ticket_entry.expires for ticket_entry in islice(self._tickets.values(), 1))]
        return min((max(now, due) for due in times if due is not None), default=None)

    # --- decisions -------------------------------------------------------------------------------------------

    def assign(self, request: Assign, now: float, ticket_id: str, at: int = 0) -> Assignment:
        """Choose a node for the client and count the client there until the ticket is redeemed or expires.

        `at` is the time of day, in milliseconds since the Unix epoch, that the decision is to carry.
        """
        self.tick(now)
        failed = {name for name in request.failed if name in self._nodes}
        if failed and request.node is None:
            # A node that drains names itself for those whom it sends away.
            self._miss(request.name, failed, now)
        best = self._lowest(failed)
        chosen, code, words = self._choose(request, best, failed)
        if chosen is not None and self._storm.is_active(now, self._admits):
            chosen, code, words = self._in_turn(request, chosen, words, failed, now)
        assignment = Assignment(
            at=at,
            now=now,
            name=request.name,
            room=request.room,
            node=None if chosen is None else chosen.name,
            code=code,
            words=words,
            best=best,
            rest=self._rest(best, request.node, failed),
            failed=failed,
            nodes=len(self._nodes),
        )
        if chosen is None:
            self.refused += 1
        else:
            self.assigned += 1
            self._turn += 1
            self._withdraw(chosen)
            chosen.turn = self._turn
            chosen.admitted(now)
            chosen.taken.append(now)
            # Who asks for a client of its own names the node that it shall go to, and itself as no choice.
            source = self._nodes[min(failed)] if request.node is not None and failed else None
            ticket_entry = self._tickets[ticket_id] = PendingTicket(now + self._settings.ticket_life, chosen, source)
            ticket_entry.begin()
            self._place(chosen)
        self._history.add(assignment)
        return assignment

    def _lowest(self, failed: set[str]) -> list[NodeSnapshot]:
        """Return the first few that can take a client; looks at no more nodes than these and those that failed."""
        limit = self._settings.candidates
        if not failed:
            return self._open.first(limit)
        return [seen for seen in self._open.first(limit + len(failed)) if seen.node not in failed][:limit]

    def _choose(self, request: Assign, best: list[NodeSnapshot], failed: set[str]) -> tuple[FleetNode | None, str, str]:
        """Return the node, or none and a code; and the reason, but for that of the usual choice."""
        if request.node is not None:
            return self._named(request.node, failed)
        if best:
            return self._nodes[best[0].node], "", ""
        full = len(self._full) - sum(name in self._full for name in failed)
        draining = len(self._draining) - sum(name in self._draining for name in failed)
        return None, *reason_none(len(self._nodes), full, draining, len(failed))

    def _named(self, name: str, failed: set[str]) -> tuple[FleetNode | None, str, str]:
        node = self._nodes.get(name)
        if node is None:
            return None, "no_node", f"{unknown_node(name)}: `parlour status` lists them"
        hindrance = reason_excluded(node.snapshot, failed)
        if hindrance:
            code = "full" if node.snapshot.state == "full" else "no_node"
            return None, code, f"node {name} was asked for, but {hindrance}"
        return node, "", f"node {name} was asked for"

    def _rest(self, best: list[NodeSnapshot], asked: str | None, failed: set[str]) -> list[NodeSnapshot]:
        """Return whom a choice lists beside the best: the one asked for, those that failed, some that are closed."""
        limit = self._settings.candidates
        if asked is None and not failed and len(best) == min(limit, len(self._nodes)):
            return []
        # Full and draining nodes only fill what room the others leave.
        closed = chain(islice(self._full, limit), islice(self._draining, limit))
        shown = islice((name for name in closed if name not in failed), limit - len(best))
        names = dict.fromkeys(chain([asked] if asked in self._nodes else [], sorted(failed)[:limit], shown))
        there = {seen.node for seen in best}
        return [self._nodes[name].snapshot for name in names if name is not None and name not in there]

    def drain(self, node: FleetNode, deadline: float) -> None:
        """Give this live node no clients any more: it was told to drain until then, and will soon say so itself."""
        self._withdraw(node)
        node.drain_by = deadline
        self._place(node)

    # --- storms ----------------------------------------------------------------------------------------------

    def _in_turn(
        self, request: Assign, chosen: FleetNode, words: str, failed: set[str], now: float
    ) -> tuple[FleetNode | None, str, str]:
        """Return the choice if it is the client's turn, perhaps of another node; else none, and why."""
        # All nodes may be held for beyond reach, which take nothing by that count, though one of them is chosen.
        rate = max(chosen.admits, self._admits)
        idle: FleetNode | None = chosen
        if chosen.busy(now, self._settings.admits_margin):
            # Few are looked at: a node is busy only if it was chosen hundreds of times within the last second.
            names = () if request.node is not None else (seen.node for seen in self._open if seen.node not in failed)
            others = (self._nodes[name] for name in names)
            idle = next((node for node in others if not node.busy(now, self._settings.admits_margin)), None)
        if idle is None:
            wait = self._storm.postpone(request.name, now, rate)
        else:
            wait = self._storm.take_turn(request.name, now, rate)
        if idle is not None and not wait:
            return idle, "", words if idle is chosen else reason_chosen([idle.snapshot], failed, hurried=True)
        asked = "" if request.node is None else f"node {request.node} was asked for, but "
        return None, "storm", asked + self._storm.reason(wait, rate)

    def _miss(self, client: str, failed: set[str], now: float) -> None:
        """Note who could not be reached; a node that many miss counts as lost before its silence shows it."""
        for node in (self._nodes[name] for name in failed):
            if node.draining or len(node.missed) >= self._settings.cut_off:
                continue
            node.missed.add(client)
            if len(node.missed) == self._settings.cut_off:
                self._storm.node_lost(node.report, node.held, now)
                self._withdraw(node)
                self._place(node)

    def retry_after(self, assignment: Assignment, now: float) -> float:
        """Return in how many seconds a client that was given no node should ask again."""
        return self._storm.wait_time(assignment.name, now) if assignment.code == "storm" else self._settings.retry_after

    # --- what others may know --------------------------------------------------------------------------------

    def why(self, subject: str) -> list[Decision]:
        """Return the decisions remembered of the client or the room, newest first; raises UsageError for no name."""
        return self._history.find(subject)

    def get(self, name: str) -> FleetNode | None:
        """Return the live node of this name, to be read only."""
        return self._nodes.get(name)

    def present(self, now: float) -> list[FleetNode]:
        """Return the live nodes that can be reckoned with: neither draining nor late."""
        return [node for node in self._nodes.values() if self._state(node, now) in ("ok", "full")]

    def storm(self, now: float) -> bool:
        """Whether clients of a lost node are coming back, more of them than can be taken at once."""
        return self._storm.is_active(now, self._admits)

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

    def _state(self, node: FleetNode, now: float) -> str:
        if now - node.heard > 2 * self._interval(node.report):
            return "late"
        return node.snapshot.state

    # --- bookkeeping -----------------------------------------------------------------------------------------

    def _place(self, node: FleetNode) -> None:
        """Put the node where its state says; it must have been withdrawn before anything of it was changed."""
        seen = node.take_snapshot()
        if seen.state == "draining":
            self._draining[node.name] = node
            return
        if seen.state == "full":
            self._full[node.name] = node
        else:
            self._open.add(seen)
        beyond_reach = len(node.missed) >= self._settings.cut_off
        admits = 0.0 if seen.state == "full" or beyond_reach else node.admits
        self._count(node, node.held, node.weight, admits)

    def _withdraw(self, node: FleetNode) -> None:
        state = node.snapshot.state
        if state == "ok":
            self._open.remove(node.snapshot)
        else:
            del (self._full if state == "full" else self._draining)[node.name]
        self._count(node, 0, 0, 0.0)

    def _count(self, node: FleetNode, held: int, weight: int, admits: float) -> None:
        """Have the node add this to the fleet's sums, in place of what it added so far."""
        before_held, before_weight, before_admits = node.counted
        self._carried += held - before_held
        self._weight += weight - before_weight
        self._admits += admits - before_admits
        node.counted = (held, weight, admits)

    def _leave(self, node: FleetNode, state: str, now: float) -> None:
        """Take the node out of the fleet; its tickets stay until they expire, should it be back."""
        self._storm.node_lost(node.report, node.held, now)
        self._withdraw(node)
        node.due = float("inf")
        del self._nodes[node.name]
        if not self._nodes:
            self._log = None
        self._past.pop(node.name, None)
        self._past[node.name] = (now, state, node)
        if len(self._past) > self._settings.remembered:
            self._past.popitem(last=False)
        self.version += 1

    def _disband(self, now: float) -> None:
        """Let all nodes go, whose log is that of few; their clients stay with them."""
        for node in list(self._nodes.values()):
            self._leave(node, "gone", now)
            self._storm.node_back(node.report)

    def _interval(self, report: Report) -> float:
        # In this order a NaN becomes the shortest interval.
        return min(self._settings.longest_interval, max(self._settings.shortest_interval, report.interval))

    def _silent_at(self, node: FleetNode) -> float:
        return node.heard + self._settings.missed_reports * self._interval(node.report)
