"""The balancer: it chooses a node for each client, from what the nodes report.

This module owns the choice, the tickets on their way and what `why` remembers. It is pure: events and a clock (`now`,
in monotonic seconds) go in, decisions come out, on the one thread that runs it. It must never do I/O, read a clock, use
randomness, or look at every node to choose one.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, islice

from parlour.broker.admission import Admission
from parlour.broker.assignment import Assignment
from parlour.broker.fleet_table import FleetTable
from parlour.broker.history import DecisionHistory
from parlour.broker.logvote import LogVote
from parlour.broker.nodes import FleetNode, NodeSnapshot, PendingTicket
from parlour.broker.reasons import reason_excluded, reason_none, refusal_for, unknown_node
from parlour.broker.settings import BrokerSettings
from parlour.wire.control import Assign, Decision, Refusal, Report

__all__ = ["Balancer"]


class Balancer:
    """Dynamic round-robin over the nodes that report.

    It chooses among the nodes that are alive, not draining and not full, and takes the one with the lowest load; of
    nodes with equal load it takes the one that was chosen least recently. A node's load is the clients of its last
    report, plus the clients assigned since that have not arrived yet, plus the credit of a slow start, divided by its
    weight, which is its capacity. All state is rebuilt from reports alone. When the clients of a lost node come back
    all at once, each is admitted at its turn.
    """

    def __init__(self, settings: BrokerSettings | None = None) -> None:
        self._settings = settings or BrokerSettings()
        self.fleet = FleetTable(self._settings)
        """The nodes, for others to read; only the balancer changes them."""
        self._admission = Admission(self._settings, self.fleet)
        self._votes = LogVote()
        # Tickets neither redeemed nor expired, oldest first. All live equally long, so they expire in this order.
        self._tickets: OrderedDict[str, PendingTicket] = OrderedDict()
        self._history = DecisionHistory(self._settings.remembered, self._settings.remembered_each)
        self.assigned = 0
        """Clients that were given a node; the balancer also numbers the assignments by it."""
        self.refused = 0
        """Clients that were given no node."""

    def __len__(self) -> int:
        return len(self.fleet.nodes)

    # --- reports ---------------------------------------------------------------------------------------------

    def report(self, report: Report, now: float, enrols: bool = False) -> Refusal | None:
        """Take a node's report, and the node itself if it is new; return a refusal if it may not be in this fleet.

        If the nodes report different room logs, the log that most nodes use wins. A node that only `enrols` has no
        vote.
        """
        node = self.fleet.nodes.get(report.node)
        if node is not None and now >= self.fleet.silent_at(node):
            self._remove(node, "lost", now)
            node = None
        refusal = refusal_for(report, node, self.fleet.log, len(self.fleet.nodes))
        if refusal is not None and refusal.code != "bad_version" and report.log != self.fleet.log and not enrols:
            until = now + self._settings.missed_reports * self.fleet.interval(report)
            if self._votes.outvotes(report, len(self.fleet.nodes), now, until):
                self._disband(now)
                node = refusal = None
        if refusal is not None:
            return refusal
        if report.stopping:
            if node is not None:
                # The last report first: it tells how many clients the node cut off, and these alone will come back.
                node.hear(report, now)
                self._remove(node, "gone", now)
            return None
        if node is None:
            node = self.fleet.add(report, now)
            self._admission.node_back(report)
        else:
            self.fleet.withdraw(node)
        node.hear(report, now)
        node.missed_by.clear()
        # An order to drain ends when the node itself reports that it drains. It also lapses some time after its
        # deadline, because a node that does not follow it should not stay idle.
        if report.draining or (node.drain_by is not None and now >= node.drain_by + self._settings.drain_lapse):
            node.drain_by = None
        for ticket_id in report.redeemed:
            ticket = self._tickets.get(ticket_id)
            if ticket is not None and ticket.node is node:
                self._tickets.pop(ticket_id).end()
        span = self._settings.slow_start
        node.slow_start(self.fleet.mean_load, (now - node.joined) / span if span else 1.0)
        self.fleet.place(node)
        self.fleet.check_silence(node)
        return None

    def _remove(self, node: FleetNode, state: str, now: float) -> None:
        """Take the node out of the fleet and expect its clients; its tickets stay until they expire."""
        self._admission.node_lost(node, now)
        self.fleet.remove(node, state, now)

    def _disband(self, now: float) -> None:
        """Remove all nodes, because fewer nodes use their log; their clients stay with them."""
        for node in list(self.fleet.nodes.values()):
            self._remove(node, "gone", now)
            self._admission.node_back(node.report)

    # --- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Remove nodes that fell silent and tickets that expired, and forget nodes that left long ago."""
        for node in self.fleet.remove_silent(now):
            self._admission.node_lost(node, now)
        while self._tickets:
            ticket_id, ticket = next(iter(self._tickets.items()))
            if ticket.expires > now:
                break
            self._tickets.pop(ticket_id).end()
            node = ticket.node
            if self.fleet.nodes.get(node.name) is node:
                self.fleet.withdraw(node)
                self.fleet.place(node)

    def next_deadline(self, now: float) -> float | None:
        """Return when `tick` next has something to check, not before `now`, or None if nothing is due ever."""
        times = [self.fleet.next_check(), *(ticket.expires for ticket in islice(self._tickets.values(), 1))]
        return min((max(now, due) for due in times if due is not None), default=None)

    # --- assignments -----------------------------------------------------------------------------------------

    def assign(self, request: Assign, now: float, ticket_id: str, at: int = 0) -> Assignment:
        """Choose a node for the client, and count the client there until its ticket is redeemed or expires.

        `at` is the time of day, in milliseconds since the Unix epoch, that the decision shows.
        """
        self.tick(now)
        failed = {name for name in request.failed if name in self.fleet.nodes}
        if failed and request.node is None:
            # With `request.node`, `failed` is no failure: a node that moves its client away names itself there.
            self._admission.missed(request.name, failed, now)
        best = self.fleet.lowest(self._settings.candidates, failed)
        chosen, code, words = self._choose(request, best, failed)
        if chosen is not None and self._admission.is_storm(now):
            chosen, code, words = self._admission.admit(request, chosen, words, failed, now)
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
            nodes=len(self.fleet.nodes),
        )
        if chosen is None:
            self.refused += 1
        else:
            self.assigned += 1
            self.fleet.withdraw(chosen)
            chosen.count_assignment(self.assigned, now)
            # A node that moves a client names the target in `node` and itself in `failed`.
            source = self.fleet.nodes[min(failed)] if request.node is not None and failed else None
            ticket = self._tickets[ticket_id] = PendingTicket(now + self._settings.ticket_life, chosen, source)
            ticket.begin()
            self.fleet.place(chosen)
        self._history.add(assignment)
        return assignment

    def _choose(self, request: Assign, best: list[NodeSnapshot], failed: set[str]) -> tuple[FleetNode | None, str, str]:
        """Return a node, or None with a code; and the reason, which is "" for the usual one."""
        if request.node is not None:
            return self._requested(request.node, failed)
        if best:
            return self.fleet.nodes[best[0].node], "", ""
        return None, *reason_none(len(self.fleet.nodes), *self.fleet.count_closed(failed), len(failed))

    def _requested(self, name: str, failed: set[str]) -> tuple[FleetNode | None, str, str]:
        node = self.fleet.nodes.get(name)
        if node is None:
            return None, "no_node", f"{unknown_node(name)}: `parlour status` lists the nodes"
        excluded = reason_excluded(node.snapshot, failed)
        if excluded:
            code = "full" if node.snapshot.state == "full" else "no_node"
            return None, code, f"node {name} was requested, but {excluded}"
        return node, "", f"node {name} was requested"

    def _rest(self, best: list[NodeSnapshot], requested: str | None, failed: set[str]) -> list[NodeSnapshot]:
        """Return the nodes to list beside the best: the requested one, the failed ones, and some closed ones."""
        limit = self._settings.candidates
        if requested is None and not failed and len(best) == min(limit, len(self.fleet.nodes)):
            return []
        # Full and draining nodes only fill the room that the best leave.
        closed = islice((name for name in self.fleet.closed(limit) if name not in failed), limit - len(best))
        names = dict.fromkeys(chain([] if requested is None else [requested], sorted(failed)[:limit], closed))
        listed = {snapshot.node for snapshot in best}
        return [self.fleet.nodes[name].snapshot for name in names if name in self.fleet.nodes and name not in listed]

    def retry_after(self, assignment: Assignment, now: float) -> float:
        """Return in how many seconds a client that was given no node should ask again."""
        if assignment.code == "storm":
            return self._admission.wait_time(assignment.name, now)
        return self._settings.retry_after

    def is_storm(self, now: float) -> bool:
        """Whether more clients of lost nodes are coming back than the nodes can take at once."""
        return self._admission.is_storm(now)

    def why(self, subject: str) -> list[Decision]:
        """Return the remembered decisions about a client or room, newest first; raises UsageError if it is no name."""
        return self._history.find(subject)

    def drain(self, node: FleetNode, deadline: float) -> None:
        """Give this live node no more clients: it was ordered to drain by then, and will soon report so itself."""
        self.fleet.withdraw(node)
        node.drain_by = deadline
        self.fleet.place(node)
