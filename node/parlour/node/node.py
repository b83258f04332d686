"""A chat node: it makes all its parts, and starts and stops them in order.

This module owns the node's name, identity and parts. The main thread starts and stops the node; the fleet thread asks
it for reports. It must never do the work of its parts.
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

from parlour.directory.directory import Directory
from parlour.directory.opening import open_store
from parlour.node.clients.arrivals import Arrivals
from parlour.node.clients.broadcast import Broadcast
from parlour.node.clients.capacity import allowed_clients, system_limits
from parlour.node.clients.catchup import CatchUp
from parlour.node.clients.context import ClientContext
from parlour.node.clients.followers import followers
from parlour.node.clients.limiter import Limiter
from parlour.node.clients.listener import Listener
from parlour.node.clients.migration import Migration
from parlour.node.clients.news import NewsDesk
from parlour.node.clients.pool import ClientPool
from parlour.node.clients.registry import ClientRegistry
from parlour.node.clients.writer import ConnectionWriter
from parlour.node.cluster.brokers import BrokerLinks
from parlour.node.cluster.load import Load
from parlour.node.cluster.relay import Relay
from parlour.node.cluster.watches import Watches
from parlour.node.log.opening import open_log
from parlour.node.log.watched import WatchedLog
from parlour.node.people.orders import OrderWatch
from parlour.node.people.people import People
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.table import RoomTable
from parlour.node.rooms.trimmer import Trimmer
from parlour.node.settings import NodeSettings
from parlour.runtime.addresses import advertised_host
from parlour.runtime.forks import ProcessBound
from parlour.runtime.logs import Tally, node_log, set_part_name
from parlour.runtime.scheduler import Scheduler, WorkerPool
from parlour.runtime.threads import Service, join_all, spawn
from parlour.wire.control import Peer, Report
from parlour.wire.limits import MAX_NAME, check_name, parse_address

__all__ = ["Node"]

STACK = 256 * 1024
"""Bytes of stack for each thread of a node: ten thousand threads must fit into memory."""

MISSED_REPORTS = 3
"""Missed reports after which a node counts as lost. A broker counts so; this node does it when no broker is there."""

_VERSION = version("parlour")


class Node(ProcessBound):
    """A node: `start` it, read its `name` and `address`, `stop` it, all in the process that made it."""

    kind = "node"
    advice = "make one in this process"

    def __init__(self, settings: NodeSettings | None = None) -> None:
        """Prepare a node; nothing is open before `start`."""
        self.settings = settings or NodeSettings()
        self.instance = secrets.token_hex(4)
        self._cut_off = 0
        self._lost_peers: dict[Peer, float] = {}  # nodes lost without a broker, and when; for the fleet thread alone
        self._open_parts = contextlib.ExitStack()
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

    def start(self, timeout: float = 5.0) -> None:
        """Start all parts, enrol with a broker and accept clients; if that fails, close all and raise ParlourError."""
        self.check_process()
        try:
            self._start(timeout)
        except BaseException:
            self.stop()
            raise

    def _start(self, timeout: float) -> None:
        settings, open_parts = self.settings, self._open_parts
        threading.stack_size(STACK)
        self.log = WatchedLog(open_log(settings.log))
        # The log is closed on its own thread, because that waits for other threads in the log.
        open_parts.callback(lambda: join_all([spawn(f"{self.name}-closing", self.log.close)], self._time_left()))
        store = open_store(settings.log)
        open_parts.callback(store.close)
        listener = Listener(settings.listen)
        open_parts.callback(listener.stop)
        self.name = check_name(settings.name or _default_name(listener.port))
        set_part_name(f"node {self.name}")
        self._host = advertised_host(listener.host, settings.brokers[0])
        self.address = settings.advertise or f"{self._host}:{listener.port}"
        self.capacity, reason = allowed_clients(settings.capacity, system_limits())
        if reason:
            node_log.warning("%s", reason)
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
        open_parts.callback(broadcast.close)
        if broadcast.unavailable_reason:
            node_log.warning(
                "io_uring is not available (%s): each delivery needs a system call and is slower",
                broadcast.unavailable_reason,
            )
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
                deliver=partial(ConnectionWriter.deliver, broadcast),
            )
        )
        self.news = NewsDesk(self._relay)
        self._relay.serve(self.rooms, self.news)
        guests = settings.guests
        if guests is None:
            guests = listener.is_local
        self.watches = Watches(self.log, self._relay, self._scheduler, self.rooms.check_log)
        self.catchup = CatchUp(f"{self.name}-catchup")
        self.clients = ClientRegistry(self.name, settings.admits, self.load, self.refusals, self._clients_changed)
        self.people = People(
            self.name,
            self.instance,
            Directory(store),
            self.log,
            settings,
            guests,
            self.clients.people,
            self.clients.cut_off,
        )
        limiter = Limiter(settings.post_rate)
        context = ClientContext(
            node=self.name,
            settings=settings,
            log=self.log,
            rooms=self.rooms,
            catchup=self.catchup,
            admission=self.clients,
            news=self.news,
            limiter=limiter,
            people=self.people,
        )
        self._pool = ClientPool(f"{self.name}-client", self.capacity, partial(self.clients.serve, context))
        self._migration = Migration(
            self.name,
            settings,
            self.clients,
            self.peers,
            self._tell_drain,
            self._stop_after_drain,
        )
        self._fleet = BrokerLinks(
            self.name,
            settings.brokers,
            settings.report_interval,
            self._report,
            self._fleet_changed,
            self._migration.hear_order,
            self._brokers_silent,
            self.watches.clock.hear,
        )
        orders = followers(self.clients, self.news, self.rooms)
        parts: list[Relay | WorkerPool | Scheduler | OrderWatch | People | Service] = [
            self._relay,
            workers,
            self._scheduler,
            OrderWatch(f"{self.name}-orders", self.people.directory, self.instance, orders),
            self.people,
            self.catchup,
        ]
        if settings.retention is not None:
            parts.append(
                Trimmer(
                    f"{self.name}-trimmer", self.log, settings.retention, settings.trim_interval, self.watches.clock
                )
            )
        for part in parts:
            part.start()
            open_parts.callback(self._stop_part, part)
        self.watches.start()
        self._fleet.start()
        open_parts.callback(self._stop_part, self._fleet)
        self._fleet.enroll(timeout)
        arrivals = Arrivals(limiter, settings.address_rate, self.capacity)
        listener.start(f"{self.name}-listener", self._pool, arrivals, self.refusals)
        open_parts.callback(self._dismiss)
        open_parts.callback(listener.stop)
        self.serving = True
        what = "started at %s: parlour %s, process %d, at most %d clients"
        node_log.info(what, self.address, _VERSION, os.getpid(), self.capacity)

    def stop(self, timeout: float = 5.0) -> None:
        """Tell the broker and the clients, close all parts and join all threads, in about `timeout` seconds.

        Raises StuckThreadError for threads that do not stop. Does nothing in a child of a fork, whose parent goes on.
        """
        if self.inherited:
            return
        self._stop_by = time.monotonic() + timeout
        self._open_parts.close()

    def _time_left(self) -> float:
        """Return the seconds for the next part to stop: all share one deadline, but the last ones get a moment, too."""
        return max(0.1, self._stop_by - time.monotonic())

    def _stop_part(self, part: Service | WorkerPool | Scheduler | OrderWatch | People) -> None:
        part.stop(self._time_left())

    def drain(self, deadline: float) -> None:
        """Take no new clients and move those present; return when none is left, or after `deadline` seconds."""
        self._migration.drain(deadline)

    def _tell_drain(self, timeout: float) -> None:
        self._fleet.tell_drain(timeout)

    def _clients_changed(self, clients: int) -> None:
        self._fleet.load_changed(clients / self.capacity)

    def _stop_after_drain(self, deadline: float) -> None:
        self.drain_for = deadline
        self.stop_wanted.put(signal.SIGTERM)

    def _dismiss(self) -> None:
        """Tell every client that the node stops, end the connections, and join the threads."""
        self._migration.end()
        self.serving = False
        # Clients repeat refused posts at another node.
        self.log.hasten()
        self._cut_off = self.clients.dismiss()
        self.people.passwords.dismiss()
        node_log.info("stopping: %d clients were cut off", self._cut_off)
        try:
            self._pool.stop(0.8 * self._time_left())
        finally:
            self._migration.join(self._time_left())

    def peers(self) -> set[str]:
        """Return the names of the other nodes of the cluster."""
        return set(self._relay.peers())

    # --- the fleet --------------------------------------------------------------------------------------------

    def _report(self, stopping: bool) -> Report:
        """Return the present load report. Called by the fleet thread alone."""
        # The last report tells how many clients were here when the node stopped, although they are gone now.
        clients = self._cut_off if stopping else self.clients.clients
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
            draining=self.clients.draining,
            **self.load.take(),
            stopping=stopping,
            interval=self.settings.report_interval,
            admits=self.settings.admits / len(self.settings.brokers),
            orders=list(self._fleet.orders),
            version=_VERSION,
            troubles=self.watches.troubles(),
            encodings=self.load.encodings,
        )
        return self.last_report

    def _fleet_changed(self, peers: list[Peer], gone: dict[str, str]) -> None:
        """Take in the nodes of the fleet and those that left it. Called by the fleet thread."""
        self._relay.set_peers(peers)
        for node, instance in gone.items():
            self._scheduler.after(self.settings.grace, partial(self._forget, node, instance))

    def _brokers_silent(self) -> None:
        """Drop the members of peers whose relay has been disconnected for as long as a broker would wait.

        The fleet thread calls this while no broker sends a roster. The relay keeps trying to connect; when it succeeds,
        the peer publishes its members again.
        """
        due = time.monotonic() - MISSED_REPORTS * self.settings.report_interval - self.settings.grace
        lost = {peer: since for peer, since in self._relay.away().items() if since <= due}
        for peer, _ in lost.items() - self._lost_peers.items():
            self._scheduler.after(0, partial(self.rooms.forget, peer.node, peer.instance))
        self._lost_peers = lost

    def _forget(self, node: str, instance: str) -> None:
        """Drop the members of a node that is gone, unless the same instance is back."""
        peer = self._relay.peers().get(node)
        if peer is None or peer.instance != instance:
            self.rooms.forget(node, instance)


def _default_name(port: int) -> str:
    """Return a name for a node at this port: the machine's name, cut to the longest allowed name, and the port."""
    end = f"-{port}"
    return socket.gethostname()[: MAX_NAME - len(end)] + end
