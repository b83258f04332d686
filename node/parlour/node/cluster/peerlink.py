"""The link from one peer to this node: the SUB socket for its publications, and the checks of these.

This module owns a peer's socket and these checks; the relay thread alone runs it. It must never pass on what a client
would not be allowed to send, nor let a peer speak for another: the room log has the messages that are dropped here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

import zmq
from zmq.utils.monitor import parse_monitor_message

from parlour.runtime.addresses import endpoint, ipv6_choices
from parlour.wire import relay as wire
from parlour.wire.codec import check_batch, decode_relay
from parlour.wire.control import Peer
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import parse_address
from parlour.wire.messages import Message

__all__ = ["PEER_TIMEOUT", "PeerLink", "PeerLinkState", "RelayHandler", "RelayedRoom"]

PING_INTERVAL, PEER_TIMEOUT = 2000, 6000
"""Milliseconds between two pings of ZeroMQ to a peer, and without an answer until the peer counts as gone."""

MAX_PUBLICATION = 16 * 1024 * 1024
"""Bytes of a publication, at most: several times the size of 256 of the longest messages, or of 10,000 names."""


class RelayedRoom(Protocol):
    """A room, as the relay sees it; no method blocks."""

    def receive_batch(self, header: wire.RelayBatch, frames: bytes, changes: list[Message]) -> None:
        """Take the checked frames of messages; `changes` are those of them that are of `CHANGE_KINDS`."""
        ...

    def receive_log_head(self, header: wire.LogHead) -> None:
        """Take the last offset of the room, as another node knows it."""
        ...

    def receive_snapshot(self, header: wire.PresenceSnapshot) -> None:
        """Take the list of all members on another node."""
        ...

    def receive_delta(self, header: wire.PresenceDelta) -> bool:
        """Take changes among the members on another node; return False if earlier changes are missing."""
        ...


class RelayHandler(Protocol):
    """The relay, as a link sees it."""

    def room(self, name: str) -> RelayedRoom | None:
        """Return the room, or None if it is not on this node."""
        ...

    def announce(self, name: str) -> None:
        """Tell the other nodes a room's members on this node, and its last offset."""
        ...

    def resync(self, node: str, name: str) -> None:
        """Ask another node to publish all its members of a room again."""
        ...

    def pass_on(self, news: wire.PersonNews) -> None:
        """Give news to a person's sessions on this node."""
        ...


class PeerLinkState(NamedTuple):
    """The state of a link: connected or not, since when (monotonic seconds), and whether it was ever connected."""

    connected: bool
    since: float
    reached: bool


class PeerLink:
    """The SUB socket to one peer, which the relay thread makes, uses and closes.

    Each peer has its own socket, because only the socket shows which peer published a message.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        peer: Peer,
        address: str,
        topics: Iterable[bytes],
        handler: RelayHandler,
    ) -> None:
        """Connect to the peer's XPUB at HOST:PORT and listen to these topics; raises UsageError or ZMQError."""
        host, port = parse_address(address)
        self._handler = handler
        self.peer = peer
        self.state = PeerLinkState(False, time.monotonic(), False)
        self.socket = context.socket(zmq.SUB)
        self.monitor: zmq.Socket[bytes] | None = None
        try:
            self.socket.linger = 0
            self.socket.ipv6 = ipv6_choices(host)[0]
            self.socket.maxmsgsize = MAX_PUBLICATION
            # Subscriptions, one per room, wait in this queue until the peer is connected: none may be dropped.
            self.socket.sndhwm = 0
            self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = PING_INTERVAL, PEER_TIMEOUT
            self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            for topic in topics:
                self.socket.subscribe(topic)
            self.socket.connect(endpoint(host, port))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the sockets."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close()
        self.socket.close()

    def receive_events(self, turns: int) -> None:
        """Note the changes of the connection, from at most `turns` events."""
        assert self.monitor is not None
        for _ in range(turns):
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            connected = event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.state = PeerLinkState(connected, time.monotonic(), connected or self.state.reached)

    def receive(self, turns: int) -> None:
        """Pass on at most `turns` publications."""
        for _ in range(turns):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            # The peer is faulty, or of another version. Its messages are in the log, too.
            with suppress(ProtocolError, UsageError):
                self._handle(parts)

    def _handle(self, parts: list[bytes]) -> None:
        if len(parts) != 3:
            raise ProtocolError("a publication has three parts")
        topic, body, frames = parts
        header = decode_relay(body)
        if isinstance(header, wire.Resync):
            self._handler.announce(header.room)
            return
        if isinstance(header, wire.PersonNews):
            self._handler.pass_on(header)
            return
        name = wire.room_of(topic)
        room = self._handler.room(name)
        if room is None:
            return
        if isinstance(header, wire.RelayBatch):
            room.receive_batch(header, frames, check_batch(frames, name, header.first, header.last))
        elif isinstance(header, wire.LogHead):
            room.receive_log_head(header)
        elif (header.node, header.instance) != (self.peer.node, self.peer.instance):
            raise ProtocolError("a node speaks for another")
        elif isinstance(header, wire.PresenceSnapshot):
            room.receive_snapshot(header)
        elif not room.receive_delta(header):
            self._handler.resync(header.node, name)
