"""The migration of clients to other nodes: all of them when the node drains, some when a broker orders it.

This module decides when the node drains, and owns the thread that moves clients for an order; the main thread drains,
the fleet thread brings orders. It must never move a client by force: it asks each client, which may stay.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from parlour.node.clients.mover import Mover
from parlour.node.clients.registry import ClientRegistry
from parlour.node.settings import NodeSettings
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import node_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.control import Order

__all__ = ["Migration"]

ORDER_LIFETIME = 60.0
"""Seconds for which an order to move clients is valid."""

REPORT_TIMEOUT = 2.0
"""Seconds, at most, to tell the brokers that the node drains; the fleet thread seldom takes a tenth of that."""

NO_TARGET_TIMEOUT = 4.0
"""Seconds after which a drain ends if no node takes the clients, or no broker names one."""


class Migration:
    """The moves of one node's clients."""

    def __init__(
        self,
        node: str,
        settings: NodeSettings,
        clients: ClientRegistry,
        peers: Callable[[], set[str]],
        tell_drain: Callable[[float], None],
        stop: Callable[[float], None],
    ) -> None:
        """Move clients to `peers`; `tell_drain` tells the brokers, within the given seconds.

        `stop` is called when a broker orders the node to drain: the node has the given seconds to drain, and then
        stops.
        """
        self._node = node
        self._settings = settings
        self._clients = clients
        self._peers = peers
        self._tell_drain = tell_drain
        self._stop = stop
        # Guards _stopping, _thread, _next_order_at, and that the clients' `draining` becomes true. Rank 15.
        self._mutex = make_lock(15, "migration")
        self._stopping = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_order_at = float("-inf")  # by then the brokers know the result of the last order
        self._mover = Mover(node, settings.brokers, settings.move_rate, self._stopped.wait)
        self._rebalancer = Mover(
            node, settings.brokers, settings.move_rate, lambda seconds: self._stopped.wait(seconds) or clients.draining
        )

    def drain(self, deadline: float) -> None:
        """Take no new clients and move those present; return when none is left, or after `deadline` seconds.

        Returns at once if there is no other node, and after `NO_TARGET_TIMEOUT` if none can be found: the broker may be
        away for a moment, or may have just started and not know the nodes yet.
        """
        until = time.monotonic() + deadline
        with self._mutex:
            self._clients.draining = True
        node_log.info("draining: %d clients are asked to move within %g s", self._clients.clients, deadline)
        # Tell the brokers first: else clients that ask for another node would look as if this node had cut them off.
        self._tell_drain(min(deadline, REPORT_TIMEOUT))
        found = time.monotonic()
        while time.monotonic() < until and (sessions := self._clients.sessions()):
            waiting = [session for session in sessions if not session.moving]
            if not waiting or self._mover.move(waiting, None, until):
                found = time.monotonic()
            elif not self._peers() or time.monotonic() >= found + NO_TARGET_TIMEOUT:
                return
            self._stopped.wait(0.05)

    def hear_order(self, order: Order) -> None:
        """Follow a broker's order: move clients, or drain the node. Called by the fleet thread."""
        with self._mutex:
            if self._clients.draining or self._stopping:
                return
            if order.drain and not self._peers():
                node_log.error("a broker orders this node to drain, but it is the last node: it goes on")
            elif order.drain:
                node_log.info("a broker orders this node to drain and stop within %g s", order.deadline)
                self._clients.draining = True
                self._stop(order.deadline)
            elif time.monotonic() >= self._next_order_at:
                # If no thread can be started, no client moves, and the broker repeats the order.
                with suppress(RuntimeError):
                    self._thread = spawn(f"{self._node}-mover", self._rebalance, order)
                    self._next_order_at = float("inf")
                    for transfer in order.moves:
                        node_log.info("a broker has %d clients move to node %s", transfer.clients, transfer.to)

    def end(self) -> None:
        """Ask no more clients to move."""
        self._stopped.set()
        with self._mutex:
            self._stopping = True

    def join(self, timeout: float) -> None:
        """Join the thread that moves clients, if there is one, within `timeout` seconds."""
        with self._mutex:
            thread = self._thread
        if thread is not None:
            join_all([thread], timeout)

    def _rebalance(self, order: Order) -> None:
        """Ask as many clients to move as the order says."""
        until = time.monotonic() + ORDER_LIFETIME
        staying = [session for session in self._clients.sessions() if not session.moving]
        try:
            for transfer in order.moves:
                chosen, staying = staying[: transfer.clients], staying[transfer.clients :]
                self._rebalancer.move(chosen, transfer.to, until)
        finally:
            with self._mutex:
                # A second broker that has not read the reports yet would order the same moves again.
                self._next_order_at = time.monotonic() + 2 * self._settings.report_interval
