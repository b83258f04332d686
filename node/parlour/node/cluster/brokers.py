"""The node's links to its brokers: it enrols with them, reports its load, and learns which other nodes are alive.

This module owns the fleet thread and its ZeroMQ sockets: per broker a DEALER to ask, a PUB to report, a SUB for the
feed. It must never let an absent broker disturb a conversation or the other brokers.
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

__all__ = ["MAX_REPORT", "BrokerLinks"]

ASK_AGAIN = 2.0
"""Seconds until a broker that has not answered is asked again."""

ROSTER_LIFETIME = 6.0
"""Seconds for which a broker's roster is valid; brokers send it every 2 s."""

LOAD_STEP = 0.05
"""The change of the used share of capacity, from 0 to 1, that the node reports at once."""

MIN_INTERVAL = 0.1
"""Seconds between two reports, at least, however fast the load changes."""


MAX_REPORT = 1024 * 1024
"""Bytes of a report, at most, that a broker accepts. The limits of a report's lists keep it below that."""

KNOWN_ORDERS = 4
"""Orders whose ids are remembered: several brokers may send orders at the same time."""


class _BrokerLink:
    """The link to one broker. The fleet thread alone uses its sockets."""

    def __init__(self, context: Context, address: str) -> None:
        self.address = address
        self.host, self._port = parse_address(address)
        self._ipv6 = cycle(ipv6_choices(self.host))
        self.ipv6 = next(self._ipv6)
        self.dealer = self._socket(context, zmq.DEALER)
        self.dealer.sndhwm = 1  # only one question waits for an absent broker: it is asked again anyway
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

    def switch_address(self) -> None:
        """Change between IPv4 and IPv6, if the broker has both, because it does not answer at this address."""
        ipv6, self.ipv6 = self.ipv6, next(self._ipv6)
        if ipv6 != self.ipv6:
            self.dealer.disconnect(endpoint(self.host, self._port))
            for socket in (self.dealer, self.reports, self.feed):
                socket.ipv6 = self.ipv6
            self.dealer.connect(endpoint(self.host, self._port))

    def connect(self, described: Described, node: str) -> None:
        """Connect to the ports that the broker told: report there, and listen to its feed."""
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
        """Report what `report(stopping)` returns; tell `on_peers` the nodes of the fleet and the instances that left.

        While no broker sends a roster, `on_silence` is called at every report. `on_clock` is called with the owner of a
        clock and its time, in ms since the Unix epoch.
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
        self._error_logged_at = 0.0
        self._report_now = False
        self._last_report: Report | None = None
        self._drain_reported = threading.Event()
        self.orders: deque[str] = deque(maxlen=KNOWN_ORDERS)
        """The ids of the last orders that came; the fleet thread alone uses them."""

    # --- called by other threads ------------------------------------------------------------------------------

    def enroll(self, timeout: float) -> None:
        """Wait until a broker has enrolled the node; raises RefusedError, or UnavailableError if none answers."""
        try:
            self._enrolled.result(timeout)
        except FutureTimeoutError:
            raise UnavailableError(
                f"no broker answers at {' or '.join(self._brokers)}: "
                + advice(self._brokers, f"parlour broker --bind {self._brokers[0]}")
            ) from None

    def load_changed(self, used: float) -> None:
        """Note the used share of capacity, from 0 to 1; report at once if it has changed much."""
        if abs(used - self._used) >= LOAD_STEP or (used >= 1.0) != (self._used >= 1.0):
            self._used = used
            self.report_soon()

    def report_soon(self) -> None:
        """Send a report at once."""
        self._report_now = True
        self.wake()

    def tell_drain(self, timeout: float) -> None:
        """Report that the node drains; wait until that report is sent, at most `timeout` seconds."""
        self.report_soon()
        self._drain_reported.wait(timeout)

    # --- the fleet thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask, report and listen until stopped; the last report says that the node stops."""
        with new_context(3 * len(self._brokers)) as context:
            links = [_BrokerLink(context, broker) for broker in self._brokers]
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
                step = max(now, reported + MIN_INTERVAL) if self._report_now else due
                if now >= min(step, due):
                    self._report_now = False
                    self._send_report(links, stopping=False)
                    due, reported = now + self._interval, now
                    self._check_silence(links, now)
                else:
                    self._wait(poller, links, min([step, due, *(link.ask_at for link in links if not link.enrolled)]))
            self._send_report(links, stopping=True)
            for link in links:
                link.close()

    def _wait(self, poller: zmq.Poller, links: list[_BrokerLink], until: float) -> None:
        ready = dict(poller.poll(max(0, round((until - time.monotonic()) * 1000))))
        if self.wakeup in ready:
            self.clear_wakeup()
        for link in links:
            if link.dealer in ready:
                self._hear_answer(link)
            if link.feed in ready:
                self._hear_feed(link, links)

    def _ask(self, link: _BrokerLink, now: float) -> None:
        """Ask the next question: the broker's ports, then whether the node may join."""
        if self._last_report is None:
            self._last_report = self._report(False)
        question = Describe() if link.described is None else Enroll(self._last_report)
        link.ask_at = now + ASK_AGAIN
        if link.described is None and link.asked:
            link.switch_address()
        link.asked = True
        try:
            link.dealer.send(encode(question), zmq.NOBLOCK)
        except zmq.Again:
            pass  # the queue is full: a question waits already until the broker comes up

    def _hear_answer(self, link: _BrokerLink) -> None:
        try:
            answer: Reply = decode_reply(link.dealer.recv(zmq.NOBLOCK))
        except ProtocolError as error:
            self._log_error(f"{link.address} does not answer as a broker does ({error})")
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
                self._log_error(answer.text)
            elif answer.retry_after is not None and not link.refused:
                # Perhaps this node was killed and started again: its former self counts as alive a little longer.
                link.refused = True
                link.ask_at = time.monotonic() + answer.retry_after
            else:
                self._enrolled.set_exception(RefusedError(answer, link.address))

    def _send_report(self, links: list[_BrokerLink], stopping: bool) -> None:
        report = self._last_report = self._report(stopping)
        body = encode(report)
        if len(body) > MAX_REPORT:
            # A broker would refuse it and count the node as lost. Tickets that are not reported expire.
            body = encode(replace(report, redeemed=[], orders=[], troubles=[]))
        self._used = report.clients / report.capacity
        for link in links:
            if link.enrolled:
                link.reports.send_multipart([f"report.{report.node}".encode(), body], zmq.NOBLOCK)
        if report.draining:
            self._drain_reported.set()

    def _check_silence(self, links: list[_BrokerLink], now: float) -> None:
        for link in links:
            silent = now - link.roster_at >= ROSTER_LIFETIME
            # A broker that has just enrolled the node sends no settled roster until it knows the whole fleet.
            if link.roster_at and silent != link.silent:
                link.silent = silent
                if silent:
                    node_log.warning("the broker %s is silent: conversations go on without it", link.address)
                else:
                    node_log.info("the broker %s is back", link.address)
        if all(now - link.roster_at >= ROSTER_LIFETIME for link in links):
            self._on_silence()

    def _hear_feed(self, link: _BrokerLink, links: list[_BrokerLink]) -> None:
        while True:
            try:
                _, body = link.feed.recv_multipart(zmq.NOBLOCK)
                message = decode_feed(body)
            except zmq.Again:
                return
            except (ValueError, ProtocolError):
                continue
            mine = self._last_report.instance if self._last_report else None
            if isinstance(message, NodeList):
                self._hear_roster(link, message, links)
            elif isinstance(message, Order) and message.instance == mine:
                self._hear_order(message)
            elif isinstance(message, Refusal) and message.instance == mine and link.enrolled:
                self._log_error(message.text)  # the broker enrolled the node, was restarted, and now refuses it

    def _hear_order(self, order: Order) -> None:
        """Pass an order on once: a broker repeats it until the reports list it, or say that the node drains."""
        if order.id in self.orders:
            return
        if order.id:
            self.orders.append(order.id)
        self._on_order(order)

    def _hear_roster(self, link: _BrokerLink, roster: NodeList, links: list[_BrokerLink]) -> None:
        """Take in the list of living nodes. A node is gone when no broker with a settled roster lists it."""
        now = time.monotonic()
        if roster.at:
            self._on_clock(f"the broker {link.address}", roster.at)
        if roster.settled:
            link.roster = roster.nodes
            link.roster_at = now
        settled = [each.roster for each in links if each.roster is not None and now - each.roster_at < ROSTER_LIFETIME]
        listed = {peer.node: peer for nodes in (*settled, roster.nodes) for peer in nodes}
        # A broker that has just started does not know all nodes yet: its roster adds nodes, but removes none.
        peers = listed if settled else self._peers | listed
        gone = {node: peer.instance for node, peer in self._peers.items() if peers.get(node) != peer}
        if peers != self._peers:
            for node in peers.keys() - self._peers.keys() - {self._node}:
                node_log.info("node %s is in the fleet", node)
            for node in gone.keys() - {self._node}:
                node_log.info("node %s %s", node, "has started anew" if node in peers else "has left the fleet")
            self._peers = peers
            self._on_peers(list(peers.values()), gone)

    def _log_error(self, text: str) -> None:
        """Log an error that the operator has to mend, at most once a minute."""
        now = time.monotonic()
        if now - self._error_logged_at >= 60 or not self._error_logged_at:
            self._error_logged_at = now
            node_log.error("%s", text)
