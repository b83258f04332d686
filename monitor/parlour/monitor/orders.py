"""Orders to the fleet, and watching them carried out in what the nodes report.

This module owns the questions that change something in a cluster; each runs on the thread that asks. It must never
take an order for done because it was given, nor wait for that without a deadline.
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

_LOOK = 0.2
"""Seconds between two looks at the fleet."""

_SPARE = 5.0
"""Seconds beyond a drain's deadline in which the node has to end."""

_SETTLE, _MISSED = 3.0, 3
"""Seconds, and intervals of a node's reports, after which a broker that has just started has heard of the node."""

_SPAN = 10.0
"""Seconds that a rebalance may take however few clients it moves."""

_PACE = 50.0
"""Clients a second, at least, that a node is trusted to move beyond that."""


_SLACK, _SLACK_PART = 2, 0.05
"""Clients, and part of them, that may have come to a node while it moved others: what the broker calls even."""


class Rebalanced:
    """What a rebalance moves or would move, and how evenly the clients are spread before and after it."""

    def __init__(self, broker: str, orders: list[Order], before: float) -> None:
        self.broker = broker
        self.moves = [(order.node, move.to, move.clients) for order in orders for move in order.moves]
        """From whom, to whom, how many."""
        self.before = before
        self.after: float | None = None
        """None until the moves have been seen."""


def _order(brokers: Sequence[str], request: Request) -> tuple[str, list[Order]]:
    broker, reply = ask(brokers, request)
    if not isinstance(reply, Ordered):
        raise ProtocolError(f"{broker} answered {type(reply).__name__} to an order: update parlour there")
    return broker, reply.orders


def _until(deadline: float) -> Iterator[None]:
    """Yield at once, then every now and then until the deadline (monotonic seconds)."""
    yield
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(_LOOK, left))
        yield


def drain(brokers: Sequence[str], node: str, deadline: float, progress: Callable[[int], None]) -> int:
    """Have the node drained, and return how many clients it moved once it has left the fleet.

    `progress` is told how many clients are there still. Raises RefusedError if there is no such node, or no other to
    move its clients to, ParlourError if some were not moved, or if it is there after `deadline` seconds and a
    few more.
    """
    begun = time.monotonic()
    _, fleet = ask_fleet(brokers)
    here = {state.report.node: state for state in fleet.nodes if is_here(state.state)}
    had, interval = (here[node].report.clients, here[node].report.interval) if node in here else (0, 0.0)
    _, (order,) = _order(brokers, Drain(node, deadline))
    left, heard = had, False
    for _ in _until(begun + deadline + _SPARE):
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
                f"{node} left unheard, and had {left} of its {counted(had, 'client')} before: was a broker restarted?"
            )
        # Its last word tells how many it cut off; if it ended at its deadline, so does the word before.
        if time.monotonic() - begun < deadline:
            left = 0
        if state is not None:
            left = max(left, state.report.clients)
        if left:
            raise ParlourError(
                f"{node} stopped with {left} of its {counted(had, 'client')} not moved: give it a longer --deadline"
            )
        return had
    trouble = "" if heard else ", and it never began to drain: is its parlour an older one?"
    raise ParlourError(f"{node} is there still after {deadline + _SPARE:g} s, with {counted(left, 'client')}{trouble}")


def rebalance(brokers: Sequence[str], plan: bool) -> Rebalanced:
    """Have the fleet evened out, and return how, once the reports show it; with `plan`, only say what would move.

    Raises ParlourError if they do not show it in the time that the moves may take.
    """
    _, fleet = ask_fleet(brokers)
    broker, orders = _order(brokers, Rebalance(plan))
    done = Rebalanced(broker, orders, Snapshot.of_states(fleet.nodes).imbalance)
    if plan or not orders:
        return done
    goals = _goals(fleet.nodes, orders)
    span = _SPAN + max(sum(move.clients for move in order.moves) for order in orders) / _PACE
    for _ in _until(time.monotonic() + span):
        seen = ask_fleet(brokers)[1]
        nodes = seen.nodes
        missing = [state.report for state in fleet.nodes if _find(nodes, state.report) is None]
        if not all(_settled(seen, report.interval) for report in missing):
            continue
        done.after = Snapshot.of_states(nodes).imbalance
        # Who has been told where to go is no surplus any more, but has not gone yet.
        gone = all(state.report.clients <= goals.get(state.report.instance, state.report.clients) for state in nodes)
        if gone and not _order(brokers, Rebalance(plan=True))[1]:
            # Asked again: where only one side of a move had reported before, it looked uneven.
            done.after = Snapshot.of_states(ask_fleet(brokers)[1].nodes).imbalance
            return done
    now = "" if done.after is None else f", {done.after:.2f} now"
    raise ParlourError(
        f"not all clients had moved after {span:.0f} s (imbalance {done.before:.2f} before{now}): "
        "`parlour rebalance --plan` shows what is left"
    )


def _goals(nodes: Sequence[NodeState], orders: Sequence[Order]) -> dict[str, float]:
    """Return for each instance that moves some how many clients it may have in the end, others coming meanwhile."""
    had = {state.report.instance: state.report.clients for state in nodes}
    moved = {order.instance: sum(move.clients for move in order.moves) for order in orders}
    return {
        instance: had[instance] - clients + max(_SLACK, _SLACK_PART * had[instance])
        for instance, clients in moved.items()
        if instance in had
    }


def _settled(fleet: FleetStatus, interval: float) -> bool:
    """Whether a node of this interval has left if the broker does not list it: one just started knows nobody yet."""
    return fleet.uptime >= max(_SETTLE, _MISSED * interval)


def _find(states: Sequence[NodeState], node: Order | Report) -> NodeState | None:
    """Return the state of the very node that the order is for, or that reported, not of another of its name."""
    return next((state for state in states if state.report.instance == node.instance), None)
