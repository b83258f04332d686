"""A chat node: all its parts, put together, started and stopped in order.

This module owns the node's name and identity, and the clients that are here. Clients'
threads come and go through it; it must never do their work.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from functools import partial
from importlib.metadata import version
from queue import SimpleQueue

from parlour.node.clients.broadcast import Broadcast
from parlour.node.clients.capacity import allowed, bounds
from parlour.node.clients.catchup import CatchUp
from parlour.node.clients.listener import ClientPool, Listener
from parlour.node.clients.mover import Mover
from parlour.node.clients.session import Session
from parlour.node.clients.tickets import TicketBook
from parlour.node.cluster.brokers import BrokerLinks
from parlour.node.cluster.load import Load
from parlour.node.cluster.relay import Relay
from parlour.node.cluster.watches import Watches
from parlour.node.log.opening import open_log
from parlour.node.log.watched import WatchedLog
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.table import RoomTable
from parlour.node.rooms.trimmer import Trimmer
from parlour.node.settings import NodeSettings
from parlour.runtime.addresses import advertised_host
from parlour.runtime.forks import ProcessBound
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import Tally, node_log, set_part_name
from parlour.runtime.scheduler import Scheduler, WorkerPool
from parlour.runtime.threads import Service, join_all, spawn
from parlour.wire.codec import frame
from parlour.wire.control import Order, Peer, Report
from parlour.wire.limits import MAX_NAME, check_name, parse_address
from parlour.wire.messages import Bye

__all__ = ["Node"]

STACK = 256 * 1024
"""Bytes of stack for each thread of a node: ten thousand of them must fit."""

MOVING = 60.0
"""Seconds that an order to move clients is good for."""

TELLING = 2.0
"""Seconds, at most, in which the brokers are told that the node drains; the fleet thread seldom takes a tenth."""

PATIENCE = 4.0
"""Seconds after which a drain ends that finds nobody to take the clients, or no broker to say who may."""

MISSED = 3
"""Reports after which a node counts as lost where there is no broker, which would miss as many, to say so."""

_VERSION = version("parlour")


class Node(ProcessBound):
    """A node: `start` it, read its `name` and `address`, `stop` it; in the process that made it alone."""

    kind = "node"
    advice = "make one in this process"

    def __init__(self, settings: NodeSettings | None = None) -> None:
        """Prepare a node; nothing is opened before `start`."""
        self.settings = settings or NodeSettings()
        self.instance = secrets.token_hex(4)
        # Guards _connections, _clients, _cut_off, _stopping, _draining, _mover_thread and _moved_at. Rank 15.
        self._mutex = make_lock(15, "node")
        self._connections: set[Session] = set()
        self._clients = 0
        self._cut_off = 0
        self._stopping = False
        self._draining = False
        self._stopped = threading.Event()
        self._mover_thread: threading.Thread | None = None
        self._moved_at = float("-inf")  # when the brokers know what became of the last order
        self._given_up: dict[Peer, float] = {}  # nodes lost without a broker, and when; the fleet thread's alone
        self._opened = contextlib.ExitStack()
        self._stop_by = 0.0
        self.stop_wanted: SimpleQueue[int] = SimpleQueue()
        self.drain_for = self.settings.drain_deadline
        self.refusals = Tally(node_log, "connections refused or ended")
        self.last_report: Report | None = None
        self.serving = False
        self.name = ""
        self.address = ""
        self.capacity = self.settings.capacity
        self.load = Load()
        self.tickets = TicketBook()

    def start(self, timeout: float = 5.0) -> None:
        """Open everything, enrol with a broker and begin to accept; raises ParlourError with nothing left open."""
        self.check_process()
        try:
            self._start(timeout)
        except BaseException:
            self.stop()
            raise

    def _start(self, timeout: float) -> None:
        settings, opened = self.settings, self._opened
        threading.stack_size(STACK)
        self.log = WatchedLog(open_log(settings.log))
        # On a thread of its own, as it waits for whoever is in the log.
        opened.callback(lambda: join_all([spawn(f"{self.name}-closing", self.log.close)], self._left()))
        listener = Listener(settings.listen)
        opened.callback(listener.stop)
        self.name = check_name(settings.name or _default_name(listener.port))
        set_part_name(f"node {self.name}")
        self._host = advertised_host(listener.host, settings.brokers[0])
        self.address = settings.advertise or f"{self._host}:{listener.port}"
        self.capacity, fewer = allowed(settings.capacity, bounds())
        if fewer:
            node_log.warning("%s", fewer)
        self._pool = ClientPool(f"{self.name}-client", self.capacity, self._serve)
        relay_host, relay_port = parse_address(settings.relay) if settings.relay else (listener.host, 0)
        self._relay_host = advertised_host(relay_host, settings.brokers[0])
        self._relay = Relay(
            f"{self.name}-relay",
            self.name,
            self.instance,
            relay_host,
            relay_port,
            settings.relay_loss,
            dict(settings.relay_via),
        )
        workers = WorkerPool(f"{self.name}-worker")
        self._scheduler = Scheduler(f"{self.name}-scheduler", workers)
        broadcast = Broadcast()
        opened.callback(broadcast.close)
        if broadcast.hindrance:
            node_log.warning("io_uring: %s: each delivery is a system call, which is slower", broadcast.hindrance)
        self.rooms = RoomTable(
            RoomContext(
                node=self.name,
                instance=self.instance,
                settings=settings,
                log=self.log,
                relay=self._relay,
                workers=workers,
                scheduler=self._scheduler,
                load=self.load,
                broadcast=broadcast,
            )
        )
        self._relay.serve(self.rooms)
        self.watches = Watches(self.log, self._relay, self._scheduler, self.rooms.look)
        self.catchup = CatchUp(f"{self.name}-catchup")
        self._mover = Mover(self.name, settings.brokers, settings.move_rate, self._stopped.wait)
        self._rebalancer = Mover(
            self.name,
            settings.brokers,
            settings.move_rate,
            lambda seconds: self._stopped.wait(seconds) or self._draining,
        )
        self._fleet = BrokerLinks(
            self.name,
            settings.brokers,
            settings.report_interval,
            self._report,
            self._hear_fleet,
            self._hear_order,
            self._hear_silence,
            self.watches.clock.hear,
        )
        parts: list[Relay | WorkerPool | Scheduler | Service] = [self._relay, workers, self._scheduler, self.catchup]
        if settings.retention is not None:
            parts.append(
                Trimmer(
                    f"{self.name}-trimmer", self.log, settings.retention, settings.trim_interval, self.watches.clock
                )
            )
        for part in parts:
            part.start()
            opened.callback(self._stop_part, part)
        self.watches.start()
        self._fleet.start()
        opened.callback(self._stop_part, self._fleet)
        self._fleet.enroll(timeout)
        listener.start(f"{self.name}-listener", self._pool, self.refusals)
        opened.callback(self._dismiss)
        opened.callback(listener.stop)
        self.serving = True
        what = "started at %s: parlour %s, process %d, at most %d clients"
        node_log.info(what, self.address, _VERSION, os.getpid(), self.capacity)

    def stop(self, timeout: float = 5.0) -> None:
        """Tell the broker and the clients, close, join every thread, in `timeout` seconds and a little more at most.

        Raises StuckThreadError for those that stay. Does nothing in a child of a fork, whose parent goes on.
        """
        if self.inherited:
            return
        self._stop_by = time.monotonic() + timeout
        self._opened.close()

    def _left(self) -> float:
        """Return how long the next part may take to stop: all share one deadline, and the last still get a moment."""
        return max(0.1, self._stop_by - time.monotonic())

    def _stop_part(self, part: Service | WorkerPool | Scheduler) -> None:
        part.stop(self._left())

    def drain(self, deadline: float) -> None:
        """Take no new clients and move those present; return when none is left, or after `deadline` seconds.

        Returns at once where there is no other node to go to, and soon where none can be found: the broker may be away
        for a moment, or one that has just started not know them yet.
        """
        until = time.monotonic() + deadline
        with self._mutex:
            self._draining = True
            clients = self._clients
        node_log.info("draining: %d clients are asked to move within %g s", clients, deadline)
        # First: to brokers that do not know of it, clients who ask for another node than this would look cut off.
        self._fleet.tell_drain(min(deadline, TELLING))
        found = time.monotonic()
        while time.monotonic() < until and (sessions := self._sessions()):
            waiting = [session for session in sessions if not session.moving]
            if not waiting or self._mover.move(waiting, None, until):
                found = time.monotonic()
            elif not self.peers() or time.monotonic() >= found + PATIENCE:
                return
            self._stopped.wait(0.05)

    def _dismiss(self) -> None:
        """Tell every client that the node stops, end the connections, and join the threads."""
        self._stopped.set()
        self.serving = False
        # Clients say again elsewhere what is refused here.
        self.log.hasten()
        with self._mutex:
            self._stopping = True
            sessions = list(self._connections)
            mover = self._mover_thread
            self._cut_off = self._clients
        node_log.info("stopping: %d clients are cut off", self._cut_off)
        bye = frame(Bye("the node is stopping"))
        for session in sessions:
            session.writer.answer(bye)
            session.writer.hang_up()
        try:
            self._pool.stop(0.8 * self._left())
        finally:
            if mover is not None:
                join_all([mover], self._left())

    # --- clients ----------------------------------------------------------------------------------------------

    def _serve(self, sock: socket.socket) -> None:
        """Serve one connection to its end, on a thread of the pool."""
        session = Session(self, sock)
        with self._mutex:
            self._connections.add(session)
            stopping = self._stopping
        if stopping:
            session.writer.hang_up()
        try:
            session.run()
        finally:
            with self._mutex:
                self._connections.discard(session)

    def connections(self) -> int:
        """Return how many connections are open, those that have not said hello included."""
        with self._mutex:
            return len(self._connections)

    def arrived(self) -> None:
        """A client has been welcomed."""
        self._count(+1)

    def left(self) -> None:
        """A client that was welcomed is gone."""
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._mutex:
            self._clients += change
            clients = self._clients
        self._fleet.changed(clients / self.capacity)

    def peers(self) -> set[str]:
        """Return the names of the other nodes of the cluster."""
        return set(self._relay.peers())

    def _sessions(self) -> list[Session]:
        """Return the clients that have been welcomed, the latest first: they have the least to lose by moving."""
        with self._mutex:
            welcomed = [session for session in self._connections if session.id]
        return sorted(welcomed, key=lambda session: session.since, reverse=True)

    # --- the fleet --------------------------------------------------------------------------------------------

    def _report(self, stopping: bool) -> Report:
        """Return the load report of now. Called by the fleet thread alone."""
        with self._mutex:
            # The last report tells how many were still here when the node stopped, not that they are gone now.
            clients, draining = self._cut_off if stopping else self._clients, self._draining
        self.refusals.tell()
        self.last_report = Report(
            node=self.name,
            instance=self.instance,
            address=self.address,
            relay=f"{self._relay_host}:{self._relay.port}",
            log=self.log.identity,
            capacity=self.capacity,
            clients=clients,
            rooms=self.rooms.count(),
            lagging=self.catchup.lagging,
            draining=draining,
            **self.load.take(),
            stopping=stopping,
            interval=self.settings.report_interval,
            admits=self.settings.admits / len(self.settings.brokers),
            orders=list(self._fleet.orders),
            version=_VERSION,
            troubles=self.watches.troubles(),
        )
        return self.last_report

    def _hear_fleet(self, peers: list[Peer], gone: dict[str, str]) -> None:
        """The fleet changed. Called by the fleet thread."""
        self._relay.set_peers(peers)
        for node, instance in gone.items():
            self._scheduler.after(self.settings.grace, partial(self._forget, node, instance))

    def _hear_silence(self) -> None:
        """No broker tells who is alive: who the relay misses for as long as one would wait is gone, until it is back.

        Called by the fleet thread. The relay goes on trying, and asks who is there when it succeeds.
        """
        due = time.monotonic() - MISSED * self.settings.report_interval - self.settings.grace
        lost = {peer: since for peer, since in self._relay.away().items() if since <= due}
        for peer, _ in lost.items() - self._given_up.items():
            self._scheduler.after(0, partial(self.rooms.forget, peer.node, peer.instance))
        self._given_up = lost

    def _hear_order(self, order: Order) -> None:
        """A broker wants clients moved, or the node drained. Called by the fleet thread."""
        with self._mutex:
            if self._draining or self._stopping:
                return
            if order.drain and not self.peers():
                node_log.error("a broker orders this node to drain, but it is the last one: it goes on")
            elif order.drain:
                node_log.info("a broker orders this node to drain and stop within %g s", order.deadline)
                self._draining = True
                self.drain_for = order.deadline
                self.stop_wanted.put(signal.SIGTERM)
            elif time.monotonic() >= self._moved_at:
                # Where no thread is to be had, the order comes again, as nobody has moved.
                with contextlib.suppress(RuntimeError):
                    self._mover_thread = spawn(f"{self.name}-mover", self._rebalance, order)
                    self._moved_at = float("inf")
                    for transfer in order.moves:
                        node_log.info("a broker has %d clients move to node %s", transfer.clients, transfer.to)

    def _rebalance(self, order: Order) -> None:
        """Ask as many clients to move as the order says."""
        until = time.monotonic() + MOVING
        staying = [session for session in self._sessions() if not session.moving]
        try:
            for transfer in order.moves:
                chosen, staying = staying[: transfer.clients], staying[transfer.clients :]
                self._rebalancer.move(chosen, transfer.to, until)
        finally:
            with self._mutex:
                # Another broker, which has not read of it in the reports yet, would have as many moved again.
                self._moved_at = time.monotonic() + 2 * self.settings.report_interval

    def _forget(self, node: str, instance: str) -> None:
        """The members of a node that is gone leave, unless it was only held up and is back."""
        peer = self._relay.peers().get(node)
        if peer is None or peer.instance != instance:
            self.rooms.forget(node, instance)


def _default_name(port: int) -> str:
    """Return a name for a node at this port: that of its machine, as much of it as a name may have."""
    end = f"-{port}"
    return socket.gethostname()[: MAX_NAME - len(end)] + end
