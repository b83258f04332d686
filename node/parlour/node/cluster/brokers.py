"""The node's place in the fleet: it enrols with the brokers, reports its load, and hears who else is there.

This module owns the fleet thread and its ZeroMQ sockets: per broker a DEALER to ask, a PUB to report, a SUB for the
feed. A broker may be away at any time; that must never disturb a conversation, nor the other brokers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import cycle

import zmq
from msgspec.structs import replace

from parlour.runtime.addresses import endpoint, ipv6_choices
from parlour.runtime.broker_rpc import RefusedError, advice
from parlour.runtime.logs import node_log
from parlour.runtime.threads import Service
from parlour.runtime.zeromq import Context, new_context
from parlour.wire.codec import decode_feed, decode_reply, encode
from parlour.wire.control import (
    Describe,
    Described,
    Enroll,
    Enrolled,
    NodeList,
    Order,
    Peer,
    Refusal,
    Refused,
    Reply,
    Report,
)
from parlour.wire.errors import ProtocolError, UnavailableError
from parlour.wire.limits import parse_address

__all__ = ["LARGEST", "BrokerLinks"]

ASK_AGAIN = 2.0
"""Seconds after which a broker that did not answer is asked again."""

FRESH = 6.0
"""Seconds for which a broker's roster counts; brokers send it every 2 s."""

STEP = 0.05
"""Change of the share of capacity in use, from 0 to 1, that is reported at once."""

HASTE = 0.1
"""Seconds between two reports at least, however the load steps."""


LARGEST = 1024 * 1024
"""Bytes of a report that a broker takes. The bounds of its lists keep it below that."""

ORDERS = 4
"""Orders that are known again: with several brokers, theirs may cross."""


class _Link:
    """What the node has with one broker. Its sockets are the fleet thread's alone."""

    def __init__(self, context: Context, address: str) -> None:
        self.address = address
        self.host, self._port = parse_address(address)
        self._ipv6 = cycle(ipv6_choices(self.host))
        self.ipv6 = next(self._ipv6)
        self.dealer = self._socket(context, zmq.DEALER)
        self.dealer.sndhwm = 1  # of the questions that nobody hears now only one is kept: it is asked again anyway
        self.dealer.connect(endpoint(self.host, self._port))
        self.reports = self._socket(context, zmq.PUB)
        self.feed = self._socket(context, zmq.SUB)
        self.described: Described | None = None
        self.asked = False
        self.enrolled = False
        self.refused = False
        self.silent = False
        self.ask_at = 0.0
        self.roster: list[Peer] | None = None
        self.roster_at = 0.0

    def _socket(self, context: Context, kind: int) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        socket.linger = 200 if kind == zmq.PUB else 0  # ms: the last report says that the node stops
        socket.ipv6 = self.ipv6
        return socket

    def aim(self) -> None:
        """Try the other kind of address, if the broker has both, as it does not answer at this one."""
        ipv6, self.ipv6 = self.ipv6, next(self._ipv6)
        if ipv6 != self.ipv6:
            self.dealer.disconnect(endpoint(self.host, self._port))
            for socket in (self.dealer, self.reports, self.feed):
                socket.ipv6 = self.ipv6
            self.dealer.connect(endpoint(self.host, self._port))

    def connect(self, described: Described, node: str) -> None:
        """The broker told its ports: report there, and listen to its feed."""
        self.described = described
        self.reports.connect(endpoint(self.host, described.reports))
        for topic in (b"roster", f"refusal.{node}".encode(), f"order.{node}".encode()):
            self.feed.setsockopt(zmq.SUBSCRIBE, topic)
        self.feed.connect(endpoint(self.host, described.feed))

    def close(self) -> None:
        """Close the sockets."""
        for socket in (self.dealer, self.reports, self.feed):
            socket.close()


class BrokerLinks(Service):
    """The fleet thread of a node, which alone makes, uses and closes the sockets to the brokers."""

    def __init__(
        self,
        node: str,
        brokers: tuple[str, ...],
        interval: float,
        report: Callable[[bool], Report],
        on_peers: Callable[[list[Peer], dict[str, str]], None],
        on_order: Callable[[Order], None],
        on_silence: Callable[[], None],
        on_clock: Callable[[str, int], None],
    ) -> None:
        """Report what `report(stopping)` returns; tell `on_peers` who is in the fleet and what instances left.

        `on_silence` is called at every report while no broker tells who is in the fleet, and `on_clock` is told whose
        clock says what, in ms since the Unix epoch.
        """
        super().__init__(f"{node}-fleet")
        self._node = node
        self._brokers = brokers
        self._interval = interval
        self._report = report
        self._on_peers = on_peers
        self._on_order = on_order
        self._on_silence = on_silence
        self._on_clock = on_clock
        self._enrolled: Future[None] = Future()
        self._used = 0.0
        self._peers: dict[str, Peer] = {}
        self._complained_at = 0.0
        self._step = False
        self._last: Report | None = None
        self._drain_told = threading.Event()
        self.orders: deque[str] = deque(maxlen=ORDERS)
        """The ids of the last orders that came; the fleet thread's alone."""

    # --- what other threads call ------------------------------------------------------------------------------

    def enroll(self, timeout: float) -> None:
        """Wait until a broker has taken the node; raises RefusedError or, if none answers, UnavailableError."""
        try:
            self._enrolled.result(timeout)
        except FutureTimeoutError:
            raise UnavailableError(
                f"no broker answers at {' or '.join(self._brokers)}: "
                + advice(self._brokers, f"parlour broker --bind {self._brokers[0]}")
            ) from None

    def changed(self, used: float) -> None:
        """The share of capacity in use is now `used`, 0 to 1: report at once if that is a step."""
        if abs(used - self._used) >= STEP or (used >= 1.0) != (self._used >= 1.0):
            self._used = used
            self.report_soon()

    def report_soon(self) -> None:
        """Report at once what has changed."""
        self._step = True
        self.wake()

    def tell_drain(self, timeout: float) -> None:
        """Wait until a report that says that the node drains has gone to the brokers."""
        self.report_soon()
        self._drain_told.wait(timeout)

    # --- the fleet thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask, report and listen until stopped; the last report says that the node stops."""
        with new_context(3 * len(self._brokers)) as context:
            links = [_Link(context, broker) for broker in self._brokers]
            poller = zmq.Poller()
            poller.register(self.wakeup, zmq.POLLIN)
            for link in links:
                poller.register(link.dealer, zmq.POLLIN)
                poller.register(link.feed, zmq.POLLIN)
            self.ready()
            due = time.monotonic() + self._interval
            reported = 0.0
            while not self.stopping:
                now = time.monotonic()
                for link in links:
                    if not link.enrolled and now >= link.ask_at:
                        self._ask(link, now)
                step = max(now, reported + HASTE) if self._step else due
                if now >= min(step, due):
                    self._step = False
                    self._send_report(links, stopping=False)
                    due, reported = now + self._interval, now
                    self._mind_silence(links, now)
                else:
                    self._wait(poller, links, min([step, due, *(link.ask_at for link in links if not link.enrolled)]))
            self._send_report(links, stopping=True)
            for link in links:
                link.close()

    def _wait(self, poller: zmq.Poller, links: list[_Link], until: float) -> None:
        ready = dict(poller.poll(max(0, round((until - time.monotonic()) * 1000))))
        if self.wakeup in ready:
            self.clear_wakeup()
        for link in links:
            if link.dealer in ready:
                self._hear_answer(link)
            if link.feed in ready:
                self._hear_feed(link, links)

    def _ask(self, link: _Link, now: float) -> None:
        """Ask what is to be asked next: the ports, then whether the node may join."""
        if self._last is None:
            self._last = self._report(False)
        question = Describe() if link.described is None else Enroll(self._last)
        link.ask_at = now + ASK_AGAIN
        if link.described is None and link.asked:
            link.aim()
        link.asked = True
        try:
            link.dealer.send(encode(question), zmq.NOBLOCK)
        except zmq.Again:
            pass  # its queue is full of questions that wait for the broker to come up

    def _hear_answer(self, link: _Link) -> None:
        try:
            answer: Reply = decode_reply(link.dealer.recv(zmq.NOBLOCK))
        except ProtocolError as error:
            self._complain(f"{link.address} does not answer as a broker does ({error})")
            return
        if isinstance(answer, Described) and link.described is None:
            link.connect(answer, self._node)
            link.ask_at = 0.0
        elif isinstance(answer, Enrolled):
            link.enrolled = True
            node_log.info("enrolled at the broker %s", link.address)
            if not self._enrolled.done():
                self._enrolled.set_result(None)
        elif isinstance(answer, Refused):
            if self._enrolled.done():
                self._complain(answer.text)
            elif answer.retry_after is not None and not link.refused:
                # Perhaps the name is that of our former self, which was killed: it counts as alive a little longer.
                link.refused = True
                link.ask_at = time.monotonic() + answer.retry_after
            else:
                self._enrolled.set_exception(RefusedError(answer, link.address))

    def _send_report(self, links: list[_Link], stopping: bool) -> None:
        report = self._last = self._report(stopping)
        body = encode(report)
        if len(body) > LARGEST:
            # A broker would not take it and hold the node for lost. Tickets that it is not told of expire.
            body = encode(replace(report, redeemed=[], orders=[], troubles=[]))
        self._used = report.clients / report.capacity
        for link in links:
            if link.enrolled:
                link.reports.send_multipart([f"report.{report.node}".encode(), body], zmq.NOBLOCK)
        if report.draining:
            self._drain_told.set()

    def _mind_silence(self, links: list[_Link], now: float) -> None:
        for link in links:
            silent = now - link.roster_at >= FRESH
            # A broker that has just taken the node sends no roster that counts before it knows the whole fleet.
            if link.roster_at and silent != link.silent:
                link.silent = silent
                if silent:
                    node_log.warning("the broker %s is silent: conversations go on without it", link.address)
                else:
                    node_log.info("the broker %s is back", link.address)
        if all(now - link.roster_at >= FRESH for link in links):
            self._on_silence()

    def _hear_feed(self, link: _Link, links: list[_Link]) -> None:
        while True:
            try:
                _, body = link.feed.recv_multipart(zmq.NOBLOCK)
                said = decode_feed(body)
            except zmq.Again:
                return
            except (ValueError, ProtocolError):
                continue
            if isinstance(said, NodeList):
                self._hear_roster(link, said, links)
            elif isinstance(said, Order) and self._last and said.instance == self._last.instance:
                self._hear_order(said)
            elif isinstance(said, Refusal) and link.enrolled and self._last and said.instance == self._last.instance:
                self._complain(said.text)  # taken once, refused now: the broker was restarted, and others came first

    def _hear_order(self, order: Order) -> None:
        """Pass an order on, once: a broker repeats it until the reports list it, or say that the node drains."""
        if order.id in self.orders:
            return
        if order.id:
            self.orders.append(order.id)
        self._on_order(order)

    def _hear_roster(self, link: _Link, roster: NodeList, links: list[_Link]) -> None:
        """Take in who is alive. A node is gone when no broker that knows the whole fleet lists it any more."""
        now = time.monotonic()
        if roster.at:
            self._on_clock(f"the broker {link.address}", roster.at)
        if roster.settled:
            link.roster = roster.nodes
            link.roster_at = now
        fresh = [other.roster for other in links if other.roster is not None and now - other.roster_at < FRESH]
        listed = {peer.node: peer for nodes in (*fresh, roster.nodes) for peer in nodes}
        # A broker that has just started has not heard everybody yet: its roster adds, but takes nobody away.
        peers = listed if fresh else self._peers | listed
        gone = {node: peer.instance for node, peer in self._peers.items() if peers.get(node) != peer}
        if peers != self._peers:
            for node in peers.keys() - self._peers.keys() - {self._node}:
                node_log.info("node %s is in the fleet", node)
            for node in gone.keys() - {self._node}:
                node_log.info("node %s %s", node, "has started anew" if node in peers else "has left the fleet")
            self._peers = peers
            self._on_peers(list(peers.values()), gone)

    def _complain(self, text: str) -> None:
        """Log once a minute at most what the operator has to mend."""
        now = time.monotonic()
        if now - self._complained_at >= 60 or not self._complained_at:
            self._complained_at = now
            node_log.error("%s", text)
