"""The orders `drain` and `rebalance`: asking a broker for them, and watching the nodes' reports until they are done.

This module owns the questions that change a cluster; each runs on the thread that asks. It must never take an order
for done before the reports show it, nor wait for the reports without a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from parlour.monitor.feed import ask_fleet
from parlour.monitor.table import Snapshot
from parlour.runtime.broker_rpc import ask
from parlour.runtime.output import counted
from parlour.wire.control import Drain, FleetStatus, NodeState, Order, Ordered, Rebalance, Report, Request, is_here
from parlour.wire.errors import ParlourError, ProtocolError

__all__ = ["Rebalanced", "drain", "rebalance"]

POLL_INTERVAL = 0.2
"""Seconds between two looks at the fleet."""

STOP_TIME = 5.0
"""Seconds that a node has to end after the deadline of its drain."""

SETTLE_TIME, SETTLE_REPORTS = 3.0, 3
"""A broker that has just started knows a node after so many seconds, and so many intervals of the node's reports."""

BASE_TIME = 10.0
"""Seconds that every rebalance may take, even if it moves few clients."""

MOVE_RATE = 50.0
"""Clients per second that a node moves at least; a rebalance of many clients may take more time accordingly."""

TOLERANCE, TOLERANCE_PART = 2, 0.05
"""New clients of a node that moves others, as a number and as a part of its clients: the broker calls this even."""


class Rebalanced:
    """The moves of a rebalance, done or planned, and the imbalance before and after them.

    Attributes:
        moves: for each move the source, the target and the number of clients.
        after: None until the reports show the moves.
    """

    def __init__(self, broker: str, orders: list[Order], before: float) -> None:
        self.broker = broker
        self.moves = [(order.node, move.to, move.clients) for order in orders for move in order.moves]
        self.before = before
        self.after: float | None = None


def _order(brokers: Sequence[str], request: Request) -> tuple[str, list[Order]]:
    broker, reply = ask(brokers, request)
    if not isinstance(reply, Ordered):
        raise ProtocolError(f"{broker} answered with {type(reply).__name__} to an order: update parlour there")
    return broker, reply.orders


def _until(deadline: float) -> Iterator[None]:
    """Yield at once, then once in each poll interval until the deadline (monotonic seconds)."""
    yield
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(POLL_INTERVAL, left))
        yield


def drain(brokers: Sequence[str], node: str, deadline: float, progress: Callable[[int], None]) -> int:
    """Drain the node, wait until it has left the fleet, and return the number of clients that it moved.

    Calls `progress` with the number of clients that the node still has. Raises RefusedError if there is no such node,
    or no other node for its clients. Raises ParlourError if some clients were not moved, or if the node is still in the
    fleet after `deadline` seconds and a few more.
    """
    begun = time.monotonic()
    _, fleet = ask_fleet(brokers)
    here = {state.report.node: state for state in fleet.nodes if is_here(state.state)}
    had, interval = (here[node].report.clients, here[node].report.interval) if node in here else (0, 0.0)
    _, (order,) = _order(brokers, Drain(node, deadline))
    left, heard = had, False
    for _ in _until(begun + deadline + STOP_TIME):
        seen = ask_fleet(brokers)[1]
        state = _find(seen.nodes, order)
        if state is None and not _settled(seen, interval):
            continue
        if state is not None and is_here(state.state):
            left, heard = state.report.clients, state.report.draining
            had = max(had, left)
            progress(left)
            continue
        if state is not None and state.state == "lost":
            raise ParlourError(f"{node} fell silent while it drained, with {counted(left, 'client')}: was it killed?")
        if state is None and left:
            raise ParlourError(
                f"{node} left while no broker heard it, with {left} of its {counted(had, 'client')} when last heard: "
                "was a broker restarted?"
            )
        # The node's last report tells how many clients it cut off. If it ended at its deadline, so does the report
        # before.
        if time.monotonic() - begun < deadline:
            left = 0
        if state is not None:
            left = max(left, state.report.clients)
        if left:
            raise ParlourError(
                f"{node} stopped with {left} of its {counted(had, 'client')} not moved: give it a longer --deadline"
            )
        return had
    trouble = "" if heard else ", and never began to drain: does it run an older parlour?"
    raise ParlourError(
        f"{node} is still there after {deadline + STOP_TIME:g} s, with {counted(left, 'client')}{trouble}"
    )


def rebalance(brokers: Sequence[str], plan: bool) -> Rebalanced:
    """Rebalance the fleet, and return the moves when the reports show that they are done; with `plan` move no client.

    Raises ParlourError if the reports do not show it within the time that the moves may take.
    """
    _, fleet = ask_fleet(brokers)
    broker, orders = _order(brokers, Rebalance(plan))
    done = Rebalanced(broker, orders, Snapshot.of_states(fleet.nodes).imbalance)
    if plan or not orders:
        return done
    goals = _goals(fleet.nodes, orders)
    span = BASE_TIME + max(sum(move.clients for move in order.moves) for order in orders) / MOVE_RATE
    for _ in _until(time.monotonic() + span):
        seen = ask_fleet(brokers)[1]
        nodes = seen.nodes
        missing = [state.report for state in fleet.nodes if _find(nodes, state.report) is None]
        if not all(_settled(seen, report.interval) for report in missing):
            continue
        done.after = Snapshot.of_states(nodes).imbalance
        # The broker does not count clients that were asked to move as surplus, but they may still be there.
        gone = all(state.report.clients <= goals.get(state.report.instance, state.report.clients) for state in nodes)
        if gone and not _order(brokers, Rebalance(plan=True))[1]:
            # Ask again, because the picture before may hold the report of only one side of a move.
            done.after = Snapshot.of_states(ask_fleet(brokers)[1].nodes).imbalance
            return done
    now = "" if done.after is None else f", {done.after:.2f} now"
    raise ParlourError(
        f"not all clients had moved after {span:.0f} s (imbalance {done.before:.2f} before{now}): "
        "`parlour rebalance --plan` shows what is left"
    )


def _goals(nodes: Sequence[NodeState], orders: Sequence[Order]) -> dict[str, float]:
    """Return how many clients each instance that moves some may have in the end; new clients may come meanwhile."""
    had = {state.report.instance: state.report.clients for state in nodes}
    moved = {order.instance: sum(move.clients for move in order.moves) for order in orders}
    return {
        instance: had[instance] - clients + max(TOLERANCE, TOLERANCE_PART * had[instance])
        for instance, clients in moved.items()
        if instance in had
    }


def _settled(fleet: FleetStatus, interval: float) -> bool:
    """Whether the broker runs long enough to know a node of this interval; a node that it does not list has left."""
    return fleet.uptime >= max(SETTLE_TIME, SETTLE_REPORTS * interval)


def _find(states: Sequence[NodeState], node: Order | Report) -> NodeState | None:
    """Return the state of the instance of this order or report, and not of another instance with the same name."""
    return next((state for state in states if state.report.instance == node.instance), None)
