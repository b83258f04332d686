"""The relay between nodes: what was said in a room, and who is in it, to the nodes that have members there.

This module owns the relay thread and its ZeroMQ sockets: an XPUB of its own, and a SUB to every other node. It is a
hint and may lose anything; it must never hold up a thread that publishes, nor believe that what it sent has arrived.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import zmq

from parlour.node.cluster.peerlink import DEAD, LinkState, PeerLink, RelayedRoom
from parlour.runtime.addresses import endpoint, numeric_address
from parlour.runtime.logs import node_log
from parlour.runtime.threads import Service
from parlour.runtime.zeromq import new_context
from parlour.wire import relay as wire
from parlour.wire.codec import encode
from parlour.wire.control import Peer
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["Relay", "Rooms"]

QUEUED = 10_000
"""Publications that may wait for the relay thread; further ones are dropped, the log has them."""

TURN = 100
"""Publications sent or received before the thread looks at its other sockets."""

TOPIC = 4096
"""Bytes of a subscription at most: more than the longest room's name takes."""


class Rooms(Protocol):
    """The rooms of a node, as the relay sees them."""

    def get(self, name: str) -> RelayedRoom | None:
        """Return the room if it is on this node."""
        ...

    def announcement(self, name: str) -> Iterable[wire.RelayMessage]:
        """Return what a node that begins to listen to a room has to know."""
        ...


class Relay(Service):
    """The relay of one node. Its sockets are made, used and closed by the relay thread; others reach it by a queue.

    The queue is a deque with an eventfd and not an `inproc` pipe: any of thousands of client threads may publish,
    and a pipe would need a socket in each of them.
    """

    def __init__(
        self,
        name: str,
        node: str,
        instance: str,
        host: str,
        port: int = 0,
        loss: float = 0.0,
        via: Mapping[str, str] | None = None,
    ) -> None:
        """Bind to a port of `host`, 0 for a free one.

        For tests of mending: drop the fraction `loss` of batches, and reach the nodes that `via` names by the addresses
        that it gives.
        """
        super().__init__(name)
        self._node = node
        self._instance = instance
        self._host = host
        self._loss = loss
        self._via = via or {}
        self._rooms: Rooms | None = None
        self._queue: deque[tuple[str, bytes, bytes, bytes | memoryview]] = deque()
        self._sleeping = False
        self._wanted: dict[str, Peer] = {}
        self._listened: set[bytes] = set()  # topics that others listen to; changed by the relay thread alone
        self._topics = {wire.inbox_topic(node)}  # what is listened to here; the relay thread's alone
        self._links: dict[str, PeerLink] = {}  # by the node's name; the relay thread's alone
        self._states: dict[Peer, LinkState] = {}  # written by the relay thread alone
        self.port = port

    # --- what other threads call; none of it blocks -----------------------------------------------------------

    def serve(self, rooms: Rooms) -> None:
        """Hand what arrives to these rooms; called once, before `start`."""
        self._rooms = rooms

    def publish(self, topic: bytes, header: wire.RelayMessage, frames: bytes | memoryview = b"") -> None:
        """Send to the nodes that listen to the topic."""
        if not self.heard(topic):
            return  # who begins to listen is told where the room stands
        if isinstance(header, wire.RelayBatch) and self._loss and random.random() < self._loss:
            return
        if len(self._queue) < QUEUED:
            self._put("publish", topic, encode(header), frames)

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
        return {peer: state.since for peer, state in self.links().items() if state.reached and not state.connected}

    def links(self) -> dict[Peer, LinkState]:
        """Return how each of the other nodes is heard."""
        return self._states.copy()

    def _put(self, what: str, topic: bytes = b"", header: bytes = b"", frames: bytes | memoryview = b"") -> None:
        self._queue.append((what, topic, header, frames))
        # The system call is spared while the thread is at work: it looks at the queue before it sleeps.
        if self._sleeping:
            self._sleeping = False
            self.wake()

    # --- the relay thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send and receive until stopped."""
        with new_context(4) as context, context.socket(zmq.XPUB) as out:
            out.linger = 200  # ms: that the node's members leave is the last thing it says
            host = numeric_address(self._host)
            out.ipv6 = ":" in host
            out.setsockopt(zmq.XPUB_VERBOSE, 1)
            out.sndhwm = QUEUED
            out.maxmsgsize = TOPIC
            # A peer that reads nothing for as long is cut off, and what waits for it dropped: by number alone that may
            # be gigabytes. When it is back it subscribes anew, and is told where each room stands.
            out.tcp_maxrt = DEAD
            try:
                out.bind(endpoint(host, self.port) if self.port else endpoint(host, 0)[:-1] + "*")
            except zmq.ZMQError as error:
                where = f"{self._host}:{self.port}" if self.port else self._host
                raise ParlourError(
                    f"cannot open the relay on {where} ({zmq.strerror(error.errno or 0)}): choose another with --relay"
                ) from None
            self.port = int(cast(bytes, out.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").rpartition(b":")[2])
            poller = zmq.Poller()
            poller.register(out, zmq.POLLIN)
            poller.register(self.wakeup, zmq.POLLIN)
            self.ready()
            try:
                while not self.stopping:
                    self._turn(context, poller, out)
                while self._queue:
                    self._work_queue(context, poller, out)
            finally:
                for link in self._links.values():
                    link.close()

    def _turn(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, out: zmq.Socket[bytes]) -> None:
        self._sleeping = True
        ready = dict(poller.poll(0 if self._queue else None))
        self._sleeping = False
        if self.wakeup in ready:
            self.clear_wakeup()
        # Only what is ready: to find nothing costs as much as a publication.
        if out in ready:
            self._hear_subscribers(out)
        for link in self._links.values():
            if link.monitor in ready:
                link.hear_connection(TURN)
                self._states[link.peer] = link.state
            if link.socket in ready:
                link.hear(TURN)
        self._work_queue(context, poller, out)

    def _work_queue(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, out: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            if not self._queue:
                return
            what, topic, header, frames = self._queue.popleft()
            if what == "publish":
                out.send_multipart([topic, header, frames], zmq.NOBLOCK)
            elif what == "subscribe":
                self._topics.add(topic)
                for link in self._links.values():
                    link.socket.subscribe(topic)
            elif what == "unsubscribe":
                self._topics.discard(topic)
                for link in self._links.values():
                    link.socket.unsubscribe(topic)
            else:
                self._connect(context, poller)

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller) -> None:
        """Have a link to each peer that is wanted, and no other."""
        wanted = self._wanted
        for node, link in list(self._links.items()):
            if wanted.get(node) != link.peer:
                poller.unregister(link.socket)
                poller.unregister(link.monitor)
                link.close()
                del self._links[node]
        for peer in self._states.keys() - set(wanted.values()):
            del self._states[peer]
        for node, peer in wanted.items():
            if node in self._links:
                continue
            try:
                address = self._via.get(node, peer.relay)
                link = self._links[node] = PeerLink(context, peer, address, self._topics, self)
            except (UsageError, zmq.ZMQError) as error:
                # It counts as one that does not come about, so that what is said there is read from the log.
                if peer not in self._states:
                    node_log.error("cannot reach node %s at %r: %s", node, peer.relay, error)
                    self._states[peer] = LinkState(False, time.monotonic(), False)
                continue
            self._states[peer] = link.state
            poller.register(link.monitor, zmq.POLLIN)
            poller.register(link.socket, zmq.POLLIN)

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
            try:
                name = wire.room_of(event[1:])
            except UsageError:
                continue  # an inbox, or nothing that a node listens to
            self.announce(name)

    # --- what the links call ----------------------------------------------------------------------------------

    def room(self, name: str) -> RelayedRoom | None:
        """Return the room if it is on this node."""
        return self._rooms.get(name) if self._rooms is not None else None

    def announce(self, name: str) -> None:
        """Tell the other nodes who is in a room here, and where it stands."""
        if self._rooms is not None:
            for header in self._rooms.announcement(name):
                self.publish(wire.room_topic(name), header)

    def resync(self, node: str, name: str) -> None:
        """Ask a node to tell all its members of a room again."""
        self.publish(wire.inbox_topic(node), wire.Resync(name))
