"""The relay between nodes: what was said in a room, and who is in it, to the nodes that have members there.

This module owns the relay thread and its two ZeroMQ sockets: an XPUB of its own, a SUB to every other node. It is a
hint and may lose anything; it must never hold up who publishes, nor believe that what it sent has arrived.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from parlour.node.order import Batch
from parlour.runtime.asking import endpoint
from parlour.runtime.complaints import complain
from parlour.runtime.threads import Service
from parlour.wire import relay as wire
from parlour.wire.codec import decode_relay, encode
from parlour.wire.control import Peer
from parlour.wire.errors import ParlourError, ProtocolError, UsageError
from parlour.wire.limits import parse_address

if TYPE_CHECKING:
    from parlour.node.rooms import RoomTable

__all__ = ["Relay"]

QUEUED = 10_000
"""Publications that may wait for the relay thread; further ones are dropped, the log has them."""

TURN = 100
"""Publications sent or received before the thread looks at its other socket."""

PULSE, DEAD = 2000, 6000
"""Milliseconds between two questions of ZeroMQ's whether a peer is there, and without a sign until it is not."""


class Relay(Service):
    """The relay of one node. Its sockets are made, used and closed by the relay thread; others reach it by a queue.

    The queue is a deque with an eventfd and not an `inproc` pipe: any of thousands of client threads may publish,
    and a pipe would need a socket in each of them.
    """

    def __init__(self, name: str, node: str, instance: str, host: str, loss: float = 0.0) -> None:
        """Bind to a free port of `host`; drop the fraction `loss` of batches, for tests of mending."""
        super().__init__(name)
        self._node = node
        self._instance = instance
        self._host = host
        self._loss = loss
        self._rooms: RoomTable | None = None
        self._queue: deque[tuple[str, bytes, bytes, bytes | memoryview]] = deque()
        self._sleeping = False
        self._wanted: dict[str, Peer] = {}
        self._listened: set[bytes] = set()  # topics that others listen to; changed by the relay thread alone
        self._connected: dict[str, Peer] = {}  # by endpoint
        self._away: dict[Peer, float] = {}
        self.port = 0

    # --- what other threads call; none of it blocks -----------------------------------------------------------

    def serve(self, rooms: RoomTable) -> None:
        """Hand what arrives to these rooms; called once, before `start`."""
        self._rooms = rooms

    def publish(self, topic: bytes, head: wire.RelayMessage, frames: bytes | memoryview = b"") -> None:
        """Send to the nodes that listen to the topic."""
        if not self.heard(topic):
            return  # who begins to listen is told where the room stands
        if isinstance(head, wire.Batch) and self._loss and random.random() < self._loss:
            return
        if len(self._queue) < QUEUED:
            self._put("publish", topic, encode(head), frames)

    def heard(self, topic: bytes) -> bool:
        """Whether another node listens to the topic."""
        return topic in self._listened

    def subscribe(self, topic: bytes) -> None:
        """Listen to a topic."""
        self._put("subscribe", topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Listen to a topic no longer."""
        self._put("unsubscribe", topic)

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """Listen to these nodes, and no others."""
        self._wanted = {peer.node: peer for peer in peers if peer.node != self._node}
        self._put("peers")

    def peers(self) -> dict[str, Peer]:
        """Return the other nodes by name."""
        return self._wanted

    def away(self) -> dict[Peer, float]:
        """Return the other nodes that were reached and are not now, and since when, in monotonic seconds."""
        return self._away.copy()

    def _put(self, what: str, topic: bytes = b"", head: bytes = b"", frames: bytes | memoryview = b"") -> None:
        self._queue.append((what, topic, head, frames))
        # The system call is spared while the thread is at work: it looks at the queue before it sleeps.
        if self._sleeping:
            self._sleeping = False
            self.wake()

    # --- the relay thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send and receive until stopped."""
        with zmq.Context() as context, context.socket(zmq.XPUB) as out, context.socket(zmq.SUB) as into:
            for socket in (out, into):
                socket.linger = 200  # ms: that the node's members leave is the last thing it says
                socket.ipv6 = ":" in self._host
            out.setsockopt(zmq.XPUB_VERBOSE, 1)
            out.sndhwm = QUEUED
            # A peer that reads nothing for as long is cut off, and what waits for it dropped: by number alone that may
            # be gigabytes. When it is back it subscribes anew, and is told where each room stands.
            out.tcp_maxrt = DEAD
            # Subscriptions wait in this queue until a peer is connected, one per room: none of them may be dropped.
            into.sndhwm = 0
            try:
                out.bind(endpoint(self._host, 0).removesuffix("0") + "*")
            except zmq.ZMQError as error:
                raise ParlourError(f"cannot open the relay on {self._host}: {error}") from None
            self.port = int(cast(bytes, out.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").rpartition(b":")[2])
            into.setsockopt(zmq.SUBSCRIBE, wire.inbox_topic(self._node))
            into.heartbeat_ivl, into.heartbeat_timeout = PULSE, DEAD
            monitor = into.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            poller = zmq.Poller()
            poller.register(monitor, zmq.POLLIN)
            poller.register(out, zmq.POLLIN)
            poller.register(into, zmq.POLLIN)
            poller.register(self.wakeup, zmq.POLLIN)
            self.ready()
            while not self.stopping:
                self._sleeping = True
                ready = dict(poller.poll(0 if self._queue else None))
                self._sleeping = False
                if self.wakeup in ready:
                    self.awake()
                # Only what is ready: to find nothing costs as much as a publication.
                if monitor in ready:
                    self._hear_connections(monitor)
                if out in ready:
                    self._hear_subscribers(out)
                # Before the queue, which may disconnect a peer: polling has taken the beginning of a publication out
                # of the pipe, and ZeroMQ aborts the process if the pipe is gone when the rest of it is read.
                if into in ready:
                    self._hear_peers(into)
                self._work_queue(out, into)
            while self._queue:
                self._work_queue(out, into)
            into.disable_monitor()
            monitor.close()

    def _hear_connections(self, monitor: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            try:
                event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            peer = self._connected.get(event["endpoint"].decode())
            if peer is not None and event["event"] == zmq.EVENT_DISCONNECTED:
                self._away[peer] = time.monotonic()
            elif peer is not None:
                self._away.pop(peer, None)

    def _work_queue(self, out: zmq.Socket[bytes], into: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            if not self._queue:
                return
            what, topic, head, frames = self._queue.popleft()
            if what == "publish":
                out.send_multipart([topic, head, frames], zmq.NOBLOCK)
            elif what == "subscribe":
                into.setsockopt(zmq.SUBSCRIBE, topic)
            elif what == "unsubscribe":
                into.setsockopt(zmq.UNSUBSCRIBE, topic)
            else:
                self._connect(into)

    def _connect(self, into: zmq.Socket[bytes]) -> None:
        # By endpoint: a node that is not yet known to be gone may have had the port of one that is there.
        wanted: dict[str, Peer] = {}
        for peer in self._wanted.values():
            try:
                wanted[endpoint(*parse_address(peer.relay))] = peer
            except UsageError as error:
                self._complain(peer, error)
        for place, peer in list(self._connected.items()):
            if wanted.get(place) != peer:
                del self._connected[place]
                self._away.pop(peer, None)
                with suppress(zmq.ZMQError):
                    into.disconnect(place)
        for place, peer in wanted.items():
            if place not in self._connected:
                try:
                    into.connect(place)
                    self._connected[place] = peer
                except zmq.ZMQError as error:
                    self._complain(peer, error)

    def _complain(self, peer: Peer, error: Exception) -> None:
        complain(f"cannot reach node {peer.node} at {peer.relay!r}: {error}")

    def _hear_subscribers(self, out: zmq.Socket[bytes]) -> None:
        """A node that begins to listen to a room is told at once who is in it here, and where it stands."""
        for _ in range(TURN):
            try:
                event = out.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if event[:1] == b"\0":
                self._listened.discard(event[1:])
                continue
            self._listened.add(event[1:])
            if event[1:2] == b"r":
                self._announce(event[2:-1].decode(errors="replace"))

    def _hear_peers(self, into: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            try:
                topic, head, frames = into.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not of the relay's shape
            try:
                self._hear(topic, decode_relay(head), frames)
            except ProtocolError:
                continue  # a node of another version: what it tells of messages, the log tells too

    def _hear(self, topic: bytes, head: wire.RelayMessage, frames: bytes) -> None:
        if isinstance(head, wire.Resync):
            self._announce(head.room)
            return
        name = topic[1:-1].decode(errors="replace")
        room = self._rooms.get(name) if self._rooms is not None else None
        if room is None:
            return
        if isinstance(head, wire.Batch):
            room.arrive(head.epoch, head.last, Batch(head.first, head.last, frames))
        elif isinstance(head, wire.Top):
            room.arrive(head.epoch, head.offset)
        elif isinstance(head, wire.Here):
            room.hear_here(head)
        elif not room.hear_whereabouts(head):
            self.publish(wire.inbox_topic(head.node), wire.Resync(name))

    def _announce(self, name: str) -> None:
        if self._rooms is not None:
            for head in self._rooms.announcement(name):
                self.publish(wire.room_topic(name), head)
