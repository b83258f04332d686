"""The way from one peer to this node: the SUB socket on which its publications come, and what of them may be believed.

This module owns a peer's socket and the checks of what it publishes; the relay thread alone runs it. It must never hand
on what a client would not be allowed to send, nor let a peer speak for another: what it drops, the room log has.
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

__all__ = ["DEAD", "Hearer", "LinkState", "PeerLink", "RelayedRoom"]

PULSE, DEAD = 2000, 6000
"""Milliseconds between two questions of ZeroMQ's whether a peer is there, and without a sign until it is not."""

LARGEST = 16 * 1024 * 1024
"""Bytes of a publication at most: several times what 256 of the longest messages take, or 10,000 members' names."""


class RelayedRoom(Protocol):
    """What a room does with what comes over the relay; nothing of it blocks."""

    def receive_batch(self, header: wire.RelayBatch, frames: bytes, deleted: list[int]) -> None:
        """A node sends messages of the room, as their frames joined, which were checked; they delete these records."""
        ...

    def receive_log_head(self, header: wire.LogHead) -> None:
        """A node tells how far the room is."""
        ...

    def receive_snapshot(self, header: wire.PresenceSnapshot) -> None:
        """A node tells of all its members."""
        ...

    def receive_delta(self, header: wire.PresenceDelta) -> bool:
        """A node tells of changes among its members; return False if some before them were missed."""
        ...


class Hearer(Protocol):
    """What a link does with what it hears."""

    def room(self, name: str) -> RelayedRoom | None:
        """Return the room if it is on this node."""
        ...

    def announce(self, name: str) -> None:
        """Tell the other nodes who is in a room here, and where it stands."""
        ...

    def resync(self, node: str, name: str) -> None:
        """Ask a node to tell all its members of a room again."""
        ...


class LinkState(NamedTuple):
    """Whether a peer is heard, since when (monotonic, seconds), and whether it ever was."""

    connected: bool
    since: float
    reached: bool


class PeerLink:
    """The SUB socket to one peer, made, used and closed by the relay thread.

    Each peer has a socket of its own, as only that tells who published what.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], peer: Peer, address: str, topics: Iterable[bytes], hearer: Hearer
    ) -> None:
        """Connect to the peer's XPUB at HOST:PORT and listen to these topics; raises UsageError or ZMQError."""
        host, port = parse_address(address)
        self._hearer = hearer
        self.peer = peer
        self.state = LinkState(False, time.monotonic(), False)
        self.socket = context.socket(zmq.SUB)
        self.monitor: zmq.Socket[bytes] | None = None
        try:
            self.socket.linger = 0
            self.socket.ipv6 = ipv6_choices(host)[0]
            self.socket.maxmsgsize = LARGEST
            # Subscriptions wait in this queue until the peer is connected, one per room: none may be dropped.
            self.socket.sndhwm = 0
            self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = PULSE, DEAD
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

    def hear_connection(self, turns: int) -> None:
        """Take note of what became of the connection, in at most so many events."""
        assert self.monitor is not None
        for _ in range(turns):
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            connected = event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.state = LinkState(connected, time.monotonic(), connected or self.state.reached)

    def hear(self, turns: int) -> None:
        """Hand at most so many publications on."""
        for _ in range(turns):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            # A faulty peer, or one of another version: what it tells of messages, the log tells too.
            with suppress(ProtocolError, UsageError):
                self._take(parts)

    def _take(self, parts: list[bytes]) -> None:
        if len(parts) != 3:
            raise ProtocolError("a publication has three parts")
        topic, body, frames = parts
        header = decode_relay(body)
        if isinstance(header, wire.Resync):
            self._hearer.announce(header.room)
            return
        name = wire.room_of(topic)
        room = self._hearer.room(name)
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
            self._hearer.resync(header.node, name)
