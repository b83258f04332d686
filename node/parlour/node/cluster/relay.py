"""The relay between nodes: it carries a room's messages and presence to the nodes that have members in the room.

This module owns the relay thread and its ZeroMQ sockets: an XPUB of its own, and a SUB to every other node. It may lose
anything; it must never delay a thread that publishes, nor assume that a publication has arrived.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import zmq

from parlour.node.cluster.peerlink import PEER_TIMEOUT, PeerLink, PeerLinkState, RelayedRoom
from parlour.runtime.addresses import endpoint, numeric_address
from parlour.runtime.logs import node_log
from parlour.runtime.threads import Service
from parlour.runtime.zeromq import new_context
from parlour.wire import relay as wire
from parlour.wire.codec import encode
from parlour.wire.control import Peer
from parlour.wire.errors import ParlourError, UsageError

__all__ = ["Relay", "RelayedPeople", "RelayedRooms"]

MAX_QUEUED = 10_000
"""Publications that may wait for the relay thread; more are dropped, and nodes read them from the log."""

TURN = 100
"""Publications sent or received, at most, before the thread serves its other sockets."""

MAX_TOPIC = 4096
"""Bytes of a subscription, at most: more than the longest name of a room takes."""


class RelayedRooms(Protocol):
    """The rooms of a node, as the relay sees them."""

    def get(self, name: str) -> RelayedRoom | None:
        """Return the room, or None if it is not on this node."""
        ...

    def announcement(self, name: str) -> Iterable[wire.RelayMessage]:
        """Return the publications for a node that begins to listen to a room."""
        ...


class RelayedPeople(Protocol):
    """The people at a node, as the relay sees them."""

    def hear(self, news: wire.PersonNews) -> None:
        """Give news to a person's sessions on this node; does not block."""
        ...


class Relay(Service):
    """The relay of one node. The relay thread makes, uses and closes its sockets; other threads use a queue.

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

        For tests of the repair: drop the fraction `loss` of all batches, and connect to the nodes that `via` names at
        the addresses that it gives.
        """
        super().__init__(name)
        self._node = node
        self._instance = instance
        self._host = host
        self._loss = loss
        self._via = via or {}
        self._rooms: RelayedRooms | None = None
        self._people: RelayedPeople | None = None
        self._queue: deque[tuple[str, bytes, bytes, bytes | memoryview]] = deque()
        self._sleeping = False
        self._peers: dict[str, Peer] = {}
        self._listened_topics: set[bytes] = set()  # other nodes listen to these; the relay thread alone changes it
        self._topics = {
            wire.inbox_topic(node),
            wire.PEOPLE_TOPIC,
        }  # this node listens to these; for the relay thread alone
        self._links: dict[str, PeerLink] = {}  # by the node's name; for the relay thread alone
        self._states: dict[Peer, PeerLinkState] = {}  # the relay thread alone changes it
        self.port = port

    # --- called by other threads; no method blocks ------------------------------------------------------------

    def serve(self, rooms: RelayedRooms, people: RelayedPeople | None = None) -> None:
        """Pass arrivals to these rooms and people; called once, before `start`."""
        self._rooms = rooms
        self._people = people

    def publish(self, topic: bytes, header: wire.RelayMessage, frames: bytes | memoryview = b"") -> None:
        """Send to the nodes that listen to the topic."""
        if not self.has_listeners(topic):
            return  # a node that begins to listen is told the room's last offset
        if isinstance(header, wire.RelayBatch) and self._loss and random.random() < self._loss:
            return
        if len(self._queue) < MAX_QUEUED:
            self._put("publish", topic, encode(header), frames)

    def has_listeners(self, topic: bytes) -> bool:
        """Return whether another node listens to the topic."""
        return topic in self._listened_topics

    def subscribe(self, topic: bytes) -> None:
        """Listen to a topic."""
        self._put("subscribe", topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Stop listening to a topic."""
        self._put("unsubscribe", topic)

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """Listen to these nodes, and to no others."""
        self._peers = {peer.node: peer for peer in peers if peer.node != self._node}
        self._put("peers")

    def peers(self) -> dict[str, Peer]:
        """Return the other nodes by name."""
        return self._peers

    def away(self) -> dict[Peer, float]:
        """Return the other nodes that were connected before and are not now, and since when, in monotonic seconds."""
        return {peer: state.since for peer, state in self.links().items() if state.reached and not state.connected}

    def links(self) -> dict[Peer, PeerLinkState]:
        """Return the state of the link to each other node."""
        return self._states.copy()

    def _put(self, action: str, topic: bytes = b"", header: bytes = b"", frames: bytes | memoryview = b"") -> None:
        self._queue.append((action, topic, header, frames))
        # No system call is needed while the thread works: it looks at the queue before it sleeps.
        if self._sleeping:
            self._sleeping = False
            self.wake()

    # --- the relay thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send and receive until stopped."""
        with new_context(4) as context, context.socket(zmq.XPUB) as out:
            out.linger = 200  # ms: the node's last publication says that its members leave
            host = numeric_address(self._host)
            out.ipv6 = ":" in host
            out.setsockopt(zmq.XPUB_VERBOSE, 1)
            out.sndhwm = MAX_QUEUED
            out.maxmsgsize = MAX_TOPIC
            # Drop the queue of a peer that has read nothing for so long, and cut it off: a queue that only its number
            # of messages bounds may hold gigabytes. When the peer is back, it subscribes again and is told each room's
            # last offset.
            out.tcp_maxrt = PEER_TIMEOUT
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
        # Read ready sockets alone: a read that finds nothing costs as much as a publication.
        if out in ready:
            self._receive_subscriptions(out)
        for link in self._links.values():
            if link.monitor in ready:
                link.receive_events(TURN)
                self._states[link.peer] = link.state
            if link.socket in ready:
                link.receive(TURN)
        self._work_queue(context, poller, out)

    def _work_queue(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, out: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            if not self._queue:
                return
            action, topic, header, frames = self._queue.popleft()
            if action == "publish":
                out.send_multipart([topic, header, frames], zmq.NOBLOCK)
            elif action == "subscribe":
                self._topics.add(topic)
                for link in self._links.values():
                    link.socket.subscribe(topic)
            elif action == "unsubscribe":
                self._topics.discard(topic)
                for link in self._links.values():
                    link.socket.unsubscribe(topic)
            else:
                self._connect(context, poller)

    def _connect(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller) -> None:
        """Make the missing links to peers, and close the links that are no longer wanted."""
        wanted = self._peers
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
                # The link counts as unconnected, so the rooms read this peer's messages from the log.
                if peer not in self._states:
                    node_log.error("cannot reach node %s at %r: %s", node, peer.relay, error)
                    self._states[peer] = PeerLinkState(False, time.monotonic(), False)
                continue
            self._states[peer] = link.state
            poller.register(link.monitor, zmq.POLLIN)
            poller.register(link.socket, zmq.POLLIN)

    def _receive_subscriptions(self, out: zmq.Socket[bytes]) -> None:
        """Tell each node that begins to listen to a room its members here and its last offset, at once."""
        for _ in range(TURN):
            try:
                event = out.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if event[:1] == b"\0":
                self._listened_topics.discard(event[1:])
                continue
            self._listened_topics.add(event[1:])
            try:
                name = wire.room_of(event[1:])
            except UsageError:
                continue  # an inbox, or no topic of parlour
            self.announce(name)

    # --- called by the links ----------------------------------------------------------------------------------

    def room(self, name: str) -> RelayedRoom | None:
        """Return the room, or None if it is not on this node."""
        return self._rooms.get(name) if self._rooms is not None else None

    def announce(self, name: str) -> None:
        """Tell the other nodes a room's members on this node, and its last offset."""
        if self._rooms is not None:
            for header in self._rooms.announcement(name):
                self.publish(wire.room_topic(name), header)

    def resync(self, node: str, name: str) -> None:
        """Ask another node to publish all its members of a room again."""
        self.publish(wire.inbox_topic(node), wire.Resync(name))

    def pass_on(self, news: wire.PersonNews) -> None:
        """Give news to a person's sessions on this node."""
        if self._people is not None:
            self._people.hear(news)
