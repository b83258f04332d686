"""The broker's sockets: requests on a ROUTER, load reports on a SUB, the feed on an XPUB.

This module owns the sockets and the poll loop around the balancer; the service's one thread runs all of it, without
locks. It must never wait for a peer, nor wake up before a message comes or a deadline is due.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import zmq

from parlour.broker.balancer import Balancer
from parlour.broker.fleetlog import FleetLog
from parlour.broker.orders import Orders
from parlour.broker.settings import BrokerSettings
from parlour.broker.snapshot import BrokerSnapshot, SnapshotRequests
from parlour.runtime.addresses import endpoint, numeric_address
from parlour.runtime.logs import broker_log
from parlour.runtime.threads import Service
from parlour.runtime.zeromq import Context, new_context
from parlour.wire.codec import decode_feed, decode_request, encode, encode_ticket
from parlour.wire.control import (
    Assign,
    Assigned,
    Decisions,
    Describe,
    Described,
    Drain,
    Enroll,
    Enrolled,
    FleetStatus,
    NodeList,
    Order,
    Ordered,
    Rebalance,
    Refusal,
    Refused,
    Reply,
    Report,
    Request,
    Status,
    Ticket,
    Why,
)
from parlour.wire.errors import ParlourError, ProtocolError, UsageError
from parlour.wire.limits import check_protocol, parse_address

__all__ = ["Broker"]

_BATCH = 1000
"""Messages read from one socket before the other sockets get their turn."""

_DRAWN = 512
"""Ticket ids for which random bytes are drawn at once."""

# Plain numbers, because an operation on pyzmq's flags takes as long as a message.
_NOW = int(zmq.NOBLOCK)
_NOW_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)

_NODE_LIST = b"roster"
_DECISION = b"decision"


class Broker(Service):
    """A broker with one thread: `start` it, read its `address`, `stop` it.

    The service's own thread makes, uses and closes the three ZeroMQ sockets (ROUTER, SUB, XPUB); `stop` wakes it
    through a socket pair.
    """

    kind = "broker"

    def __init__(self, settings: BrokerSettings | None = None) -> None:
        super().__init__("broker")
        self.settings = settings or BrokerSettings()
        self.address = ""
        """HOST:PORT of the ROUTER, once started."""
        self._ids = _random_words()
        self._id = next(self._ids)
        self._balancer = Balancer(self.settings)
        self._orders = Orders(self._balancer, self.settings, self._id)
        self._waker: socket.socket | None = None
        self._router: zmq.Socket[bytes]
        self._reports: zmq.Socket[bytes]
        self._feed: zmq.Socket[bytes]
        self._described: Described
        self._started = 0.0
        self._paused = 0.0
        self._node_list_due = 0.0
        self._node_list_version = -1
        # Whether anybody ever subscribed to decisions, which is rare. It is never reset: an unsubscription does not
        # mean that the last subscriber left, as ZeroMQ passes up one even of a peer that had not subscribed.
        self._decisions_wanted = False
        # By instance: when its refusal was last published. Entries older than `refusal_every` are dropped.
        self._refused: dict[str, float] = {}
        self._log = FleetLog()
        self._snapshots = SnapshotRequests()

    def wake(self) -> None:
        """Make the loop look at `stopping`."""
        try:
            if self._waker is not None:
                self._waker.send(b"\0")
        except OSError:
            pass  # The loop has ended and closed its side meanwhile.

    def snapshot(self) -> BrokerSnapshot | None:
        """Return what the broker knows now, or None if its thread does not answer; other threads call it."""
        return self._snapshots.ask(self.wake)

    def run(self) -> None:
        """Open the sockets, serve until `stopping`, close them."""
        context = new_context(3)
        self._waker, woken = socket.socketpair()
        try:
            self._open(context)
            self._started = self._clock()
            broker_log.info("started at %s: parlour %s, process %d", self.address, self._described.version, os.getpid())
            self.ready()
            self._serve(woken)
            broker_log.info("stopping")
        finally:
            context.destroy(linger=0)
            woken.close()
            self._waker.close()

    # --- sockets ---------------------------------------------------------------------------------------------

    def _open(self, context: Context) -> None:
        host, port = parse_address(self.settings.bind)
        if port > 65533:
            raise UsageError(f"the broker uses three ports in a row: --bind takes port 65533 at most, not {port}")
        self._router, bound = self._bind(context, zmq.ROUTER, host, port)
        self._reports, reports = self._bind(context, zmq.SUB, host, port and port + 1)
        self._feed, feed = self._bind(context, zmq.XPUB, host, port and port + 2)
        self._reports.subscribe(b"")
        # Verbose: each new subscriber is sent the node list, also when another peer has subscribed to it already.
        self._feed.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
        self._described = Described(broker=self._id, reports=reports, feed=feed, version=version("parlour"))

    def _bind(self, context: Context, kind: int, host: str, port: int) -> tuple[zmq.Socket[bytes], int]:
        opened = context.socket(kind)
        opened.linger = 0
        opened.set_hwm(self.settings.high_water)
        opened.setsockopt(zmq.BACKLOG, self.settings.backlog)
        opened.setsockopt(zmq.MAXMSGSIZE, self.settings.longest_message)
        # The system detects a peer whose machine vanished silently, without a wake-up of this thread.
        opened.setsockopt(zmq.TCP_KEEPALIVE, 1)
        opened.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
        try:
            # ZeroMQ binds to numbers, not to names.
            number = numeric_address(host)
            opened.ipv6 = ":" in number
            opened.bind(endpoint(number, port))
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise ParlourError(
                    f"port {port} of {host} is in use, perhaps by a running broker (`parlour status` shows it): "
                    "choose another --bind"
                ) from None
            reason = zmq.strerror(error.errno or 0)
            raise ParlourError(f"cannot listen at {host}:{port} ({reason}): choose another --bind") from None
        except ParlourError as error:
            raise ParlourError(f"{error}: choose another --bind") from None
        return opened, parse_address(opened.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://"))[1]

    # --- the loop --------------------------------------------------------------------------------------------

    def _serve(self, woken: socket.socket) -> None:
        poller = zmq.Poller()
        poller.register(woken, zmq.POLLIN)
        for each in (self._router, self._reports, self._feed):
            poller.register(each, zmq.POLLIN)
        now = self._clock()
        while not self.stopping:
            timeout = self._poll_timeout()
            ready = dict(poller.poll(timeout))
            # A paused process hears no reports. The nodes are not lost for that reason, so the balancer's clock stands
            # still for the time of the pause.
            late = self._clock() - now - timeout / 1000
            if late > self.settings.pause:
                self._paused += late
            now = self._clock()
            # Read only ready sockets: a read that finds nothing costs more than a decision.
            if self._reports in ready:
                self._take_reports(now)
            self._balancer.tick(now)
            if self._balancer.fleet.settled(now - self._started):
                self._publish_orders(self._orders.automatic(now))
            if self._feed in ready:
                self._take_subscriptions(now)  # before the requests, so that a new subscriber hears the next decision
            if self._router in ready:
                self._take_requests(now)
            if now >= self._node_list_due or self._balancer.fleet.version != self._node_list_version:
                self._publish_node_list(now)
            if woken.fileno() in ready:
                woken.recv(4096)
                self._snapshots.answer(partial(self._take_snapshot, now))

    def _take_snapshot(self, now: float) -> BrokerSnapshot:
        return BrokerSnapshot(
            self._balancer.fleet.status(now),
            self._balancer.fleet.settled(now - self._started),
            {"assigned": self._balancer.assigned, **self._log.refused_clients.snapshot()},
            self._log.refused_reports.snapshot(),
        )

    def _clock(self) -> float:
        return time.monotonic() - self._paused

    def _poll_timeout(self) -> int:
        """Return the milliseconds until the next deadline."""
        now = self._clock()
        due = self._balancer.next_deadline(now)
        due = self._node_list_due if due is None else min(due, self._node_list_due)
        return max(0, math.ceil((due - now) * 1000))

    def _take_reports(self, now: float) -> None:
        for frames in _waiting(self._reports):
            try:
                report = decode_feed(frames[-1])
            except ProtocolError:
                continue  # A PUB cannot be answered.
            if isinstance(report, Report):
                self._take_report(report, now)

    def _take_report(self, report: Report, now: float, enrols: bool = False) -> Refusal | None:
        """Give the report to the balancer, publish it or its refusal on the feed, and return the refusal."""
        refusal = self._balancer.report(report, now, enrols)
        if refusal is None:
            self._publish(f"report.{report.node}".encode(), report)
            order = self._orders.unfollowed(report.node, now)
            self._publish_orders([order] if order else [], again=True)
            return None
        horizon = now - self.settings.refusal_every
        if self._refused.get(report.instance, horizon) <= horizon:
            self._refused = {instance: at for instance, at in self._refused.items() if at > horizon}
            self._refused[report.instance] = now
            self._publish(f"refusal.{report.node}".encode(), refusal)
            self._log.refuse(report, refusal)
        return refusal

    def _take_requests(self, now: float) -> None:
        send = self._router.send
        for *route, body in _waiting(self._router):
            try:
                reply = self._answer(decode_request(body), now)
            except ProtocolError as error:
                reply = Refused(code="bad_request", text=str(error))
            # All frames but the last are the way back, with or without the empty frame of a REQ. A ROUTER drops a reply
            # that a gone or slow peer cannot take, so this never waits. Frames are sent one by one, because pyzmq's
            # `send_multipart` checks each of them twice: 3 instead of 1 µs.
            for frame in route:
                send(frame, _NOW_MORE)
            send(encode(reply), _NOW)

    def _take_subscriptions(self, now: float) -> None:
        for frames in _waiting(self._feed):
            begins, topic = frames[0][:1] == b"\1", frames[0][1:]
            if begins and (_NODE_LIST.startswith(topic) or topic.startswith(_NODE_LIST)):
                self._node_list_due = now
            if begins and _DECISION.startswith(topic):
                self._decisions_wanted = True

    def _publish(self, topic: bytes, message: object) -> None:
        # An XPUB drops a message that a slow subscriber cannot take, so this never waits.
        self._feed.send_multipart([topic, encode(message)], zmq.NOBLOCK)

    def _publish_orders(self, orders: list[Order], again: bool = False) -> None:
        for order in orders:
            if not again:
                self._log.order(order)
            self._publish(f"order.{order.node}".encode(), order)

    def _publish_node_list(self, now: float) -> None:
        balancer = self._balancer
        settled = balancer.fleet.settled(now - self._started)
        self._publish(_NODE_LIST, NodeList(self._id, balancer.fleet.peers(), settled, time.time_ns() // 1_000_000))
        if self._node_list_version != balancer.fleet.version:
            self._log.change(balancer.fleet.status(now))
        self._log.tell()
        self._node_list_version = balancer.fleet.version
        self._node_list_due = now + self.settings.node_list_every

    # --- answers ---------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: float) -> Reply:
        match request:
            case Assign():
                return self._assign(request, now)
            case Describe():
                return self._described
            case Enroll():
                return self._enroll(request.report, now)
            case Status():
                return FleetStatus(
                    broker=self._id,
                    uptime=now - self._started,
                    nodes=self._balancer.fleet.status(now),
                    assigned=self._balancer.assigned,
                    refused=self._balancer.refused,
                )
            case Why():
                return self._why(request)
            case Drain():
                return self._drain(request, now)
            case Rebalance():
                orders = self._orders.plan(now) if request.plan else self._orders.rebalance(now)
                if not request.plan:
                    self._publish_orders(orders)
                return Ordered(orders)

    def _why(self, request: Why) -> Reply:
        try:
            return Decisions(found=self._balancer.why(request.subject))
        except UsageError as error:
            return Refused(code="bad_request", text=str(error))

    def _drain(self, request: Drain, now: float) -> Reply:
        order = self._orders.drain(request, now)
        if isinstance(order, Refused):
            return order
        self._publish_orders([order])
        return Ordered([order])

    def _assign(self, request: Assign, now: float) -> Reply:
        try:
            # A client that states no version is assumed to understand this one.
            if request.protocol:
                check_protocol(request.protocol)
        except UsageError as error:
            return Refused(code="bad_version", text=str(error))
        ticket_id, clock = next(self._ids), time.time()
        assignment = self._balancer.assign(request, now, ticket_id, at=int(clock * 1000))
        if self._decisions_wanted:
            self._publish(_DECISION, assignment.decision())
        if assignment.node is None:
            self._log.refused_clients.add(assignment.code)
            wait = self._balancer.retry_after(assignment, now)
            return Refused(code=assignment.code, text=assignment.reason, retry_after=wait)
        life = self.settings.ticket_life
        ticket = Ticket(node=assignment.node, name=request.name, expires=clock + life, id=ticket_id)
        address = self._balancer.fleet.nodes[assignment.node].report.address
        return Assigned(node=assignment.node, address=address, ticket=encode_ticket(ticket), expires_in=life)

    def _enroll(self, report: Report, now: float) -> Reply:
        refusal = self._take_report(report, now, enrols=True)
        if refusal is None:
            return Enrolled()
        # A node that was killed and started again must wait until its former instance counts as lost.
        wait = self._balancer.fleet.silence_left(report.node, now) if refusal.code == "name_taken" else None
        return Refused(code=refusal.code, text=refusal.text, retry_after=wait)


def _waiting(source: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
    """Yield the messages that wait in the socket or come meanwhile, at most `_BATCH`."""
    receive = source.recv
    with suppress(zmq.Again):
        for _ in range(_BATCH):
            # A Frame knows whether another follows. `recv_multipart` asks the socket, which takes three times as long.
            frames = [frame := receive(_NOW, copy=False)]
            while frame.more:
                frames.append(frame := receive(_NOW, copy=False))
            yield [frame.bytes for frame in frames]


def _random_words() -> Iterator[str]:
    """Yield words of 64 random bits for ever; one request to the system for each would take four times as long."""
    while True:
        drawn = secrets.token_hex(8 * _DRAWN)
        for start in range(0, len(drawn), 16):
            yield drawn[start : start + 16]
