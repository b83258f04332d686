"""A proxy between clients and nodes, and between the relays of nodes, that cuts connections on request.

This module owns the ports that nodes advertise, the ports through which nodes reach each other, and every connection
through them. It runs on the main thread of a process of its own, so that it does not wait for the clients' threads. It
must never hold back bytes that it can pass on.

Its arguments are its doors: `PORT:TARGET` for the clients of the node that listens at TARGET, `LINK:STATE:PORT:TARGET`
for a link to the relay at TARGET. Each line of standard input is an order; the proxy answers it on standard output when
it is done:

- `up NAME` and `down NAME` reset the connection of a client in the middle of a message: `up` of one that the client
  sends, `down` of one that the node sends. The answer is the name, or an empty line if there is no such client.
- `closed LINK` resets the connections of a link and refuses new ones; `silent LINK` passes nothing on, and resets
  nothing; `open LINK` passes bytes on again. The answer is the link.

The end of standard input ends the process.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from parlour.chaos.ports import HOST
from parlour.runtime.descriptors import raise_limit
from parlour.wire.codec import ClientDecoder, FrameDecoder, frames
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import ClientMessage, Hello, Join

__all__ = ["FORGETFUL", "LinkState", "Proxy"]

FORGETFUL = "--forgetful"
"""The argument that makes the proxy remove the position from every `join`: the fault that `--break resume` wants."""

CHUNK = 64 * 1024

CUTTING = 1.0
"""Seconds to wait for a message in the middle of which to cut; then the connection is reset anyway."""

TICK = 0.05
"""Seconds between two looks whether that time is over."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends a reset


class LinkState(StrEnum):
    """How the proxy treats a link: it passes bytes on, resets and refuses connections, or passes nothing on."""

    OPEN = "open"
    CLOSED = "closed"
    SILENT = "silent"


class _Door:
    """A port at which the proxy listens; `link` is empty if it is for clients."""

    def __init__(self, port: int, target: int, link: str, state: LinkState) -> None:
        self.socket = socket.create_server((HOST, port), backlog=4096)
        self.socket.setblocking(False)
        self.target = target
        self.link = link
        self.state = state
        self.ways: set[_Way] = set()


class _End:
    """One end of a connection.

    Attributes:
        pending: bytes that the socket has not taken yet.
        ended: whether the peer has sent its last byte.
        told: whether the peer was told that no more bytes come.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.pending = b""
        self.ended = False
        self.told = False


class _LineDecoder:
    """Reads the JSON lines of a client, as ClientDecoder reads frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[ClientMessage]:
        """Yield the messages that `data` completes; raises ProtocolError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            yield from map(_decode_line, lines)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"not a message: {error}") from None


_decode_line = msgspec.json.Decoder(ClientMessage).decode


class _Way:
    """A way through the proxy: a connection from a client or node, and one to a node."""

    def __init__(self, door: _Door, client: socket.socket, node: socket.socket) -> None:
        self.door = door
        self.client = _End(client)
        self.node = _End(node)
        self.ends = {client.fileno(): (self.client, self.node), node.fileno(): (self.node, self.client)}
        self.decoder: FrameDecoder[ClientMessage] | _LineDecoder | None = None  # None before the first byte
        self.name: str | None = None
        self.cut: tuple[_End, float] | None = None  # the end whose next bytes are cut, and until when to wait for them


class Proxy:
    """Passes bytes between its doors and the ports of the nodes behind them."""

    def __init__(self, doors: Sequence[_Door], forgetful: bool) -> None:
        """Prepare; `forgetful` removes the position from every `join` of a client."""
        self._forgetful = forgetful
        self._epoll = select.epoll()
        self._doors = {door.socket.fileno(): door for door in doors}
        self._links = {door.link: door for door in doors if door.link}
        self._ways: dict[int, _Way] = {}
        self._named: dict[str, _Way] = {}
        self._orders = b""
        for door in doors:
            if door.state is not LinkState.SILENT:
                self._epoll.register(door.socket, select.EPOLLIN)

    def run(self, orders: int) -> None:
        """Pass bytes on and obey the orders that come from this descriptor, until it ends."""
        self._epoll.register(orders, select.EPOLLIN)
        while True:
            for descriptor, events in self._epoll.poll(TICK if self._cutting() else None):
                if descriptor == orders:
                    if not self._obey(os.read(orders, CHUNK)):
                        return
                elif descriptor in self._doors:
                    self._accept(self._doors[descriptor])
                elif descriptor in self._ways and self._ways[descriptor].door.state is not LinkState.SILENT:
                    self._serve(self._ways[descriptor], descriptor, events)

    def _obey(self, data: bytes) -> bool:
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            word, _, name = line.decode().partition(" ")
            if word in list(LinkState):
                self._switch(self._links[name], LinkState(word))
                print(name, flush=True)
                continue
            way = self._named.get(name)
            if way is None or way.cut is not None:
                print(flush=True)
            else:
                way.cut = way.client if word == "up" else way.node, time.monotonic() + CUTTING
        return bool(data)

    def _switch(self, door: _Door, state: LinkState) -> None:
        """Put a link into a state."""
        before, door.state = door.state, state
        if LinkState.SILENT in (before, state) and before is not state:
            watched = [door.socket, *(end.socket for way in door.ways for end in (way.client, way.node))]
            for sock in watched:
                # epoll reports the end or reset of a registered descriptor, whatever one asks for.
                if state is LinkState.SILENT:
                    self._epoll.unregister(sock)
                else:
                    self._epoll.register(sock, select.EPOLLIN)
            if state is not LinkState.SILENT:
                for way in door.ways:
                    self._watch(way)
        if state is LinkState.CLOSED:
            for way in list(door.ways):
                self._reset(way)

    def _cutting(self) -> bool:
        """Reset connections whose time to be cut is over; return whether others wait."""
        now = time.monotonic()
        waiting = [way for way in self._named.values() if way.cut is not None]
        for way in waiting:
            if way.cut is not None and way.cut[1] <= now:
                self._reset(way)
        return bool(waiting)

    # --- connections ------------------------------------------------------------------------------------------

    def _accept(self, door: _Door) -> None:
        try:
            client, _ = door.socket.accept()
        except OSError:
            return  # The client has given up.
        if door.state is LinkState.CLOSED:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        node = socket.socket()
        way = _Way(door, client, node)
        # If it is refused, the first read shows that.
        node.connect_ex((HOST, door.target))
        door.ways.add(way)
        for end in (way.client, way.node):
            self._ways[end.socket.fileno()] = way
            self._epoll.register(end.socket, select.EPOLLIN)

    def _serve(self, way: _Way, descriptor: int, events: int) -> None:
        end, other = way.ends[descriptor]
        try:
            if events & select.EPOLLOUT:
                self._send(end, b"")
            if events & ~select.EPOLLOUT and not end.ended:
                data = end.socket.recv(CHUNK)
                if data and way.cut is not None and way.cut[0] is end:
                    self._send(other, data[: random.randrange(len(data))])
                    self._reset(way)
                    return
                end.ended = not data
                self._send(other, self._read(way, data) if end is way.client else data)
            if events & select.EPOLLERR:
                raise ConnectionResetError
            for one, two in ((end, other), (other, end)):
                if one.ended and not two.pending and not two.told:
                    two.told = True
                    two.socket.shutdown(socket.SHUT_WR)
            if end.told and other.told:
                self._close(way)
                return
        except BlockingIOError:
            pass
        except (OSError, ProtocolError):
            self._reset(way)
            return
        self._watch(way)

    def _watch(self, way: _Way) -> None:
        """Wait for bytes that can be passed on."""
        for one, two in ((way.client, way.node), (way.node, way.client)):
            wanted = select.EPOLLIN if not one.ended and not two.pending else 0
            self._epoll.modify(one.socket, wanted | (select.EPOLLOUT if one.pending else 0))

    def _send(self, end: _End, data: bytes) -> None:
        data = end.pending + data
        try:
            end.pending = data[end.socket.send(data) :] if data else b""
        except BlockingIOError:
            end.pending = data

    def _read(self, way: _Way, data: bytes) -> bytes:
        """Learn the client's name from its `hello`; return the bytes to pass on."""
        if way.door.link or (way.name is not None and not self._forgetful):
            return data
        if way.decoder is None:
            way.decoder = _LineDecoder() if data.startswith(b"{") else ClientDecoder()
        messages = list(way.decoder.feed(data))
        for message in messages:
            if isinstance(message, Hello):
                way.name = message.name
                # A client that moves has two connections for a moment: the new one counts.
                self._named[way.name] = way
        if not self._forgetful:
            return data
        forgotten = [replace(m, after=None, epoch=None) if isinstance(m, Join) else m for m in messages]
        if isinstance(way.decoder, FrameDecoder):
            return frames(forgotten)
        return b"".join(msgspec.json.encode(message) + b"\n" for message in forgotten)

    def _reset(self, way: _Way) -> None:
        for end in (way.client, way.node):
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(way)

    def _close(self, way: _Way) -> None:
        for descriptor in way.ends:
            del self._ways[descriptor]
        way.door.ways.discard(way)
        for end in (way.client, way.node):
            end.socket.close()
        if way.cut is not None:
            print(way.name, flush=True)
        if way.name is not None and self._named.get(way.name) is way:
            del self._named[way.name]


def _door(argument: str) -> _Door:
    *link, port, target = argument.split(":")
    name, state = link or ("", LinkState.OPEN)
    return _Door(int(port), int(target), name, LinkState(state))


def _main(arguments: Sequence[str]) -> None:
    raise_limit()
    proxy = Proxy([_door(argument) for argument in arguments if argument != FORGETFUL], FORGETFUL in arguments)
    print("ready", flush=True)
    proxy.run(sys.stdin.fileno())


if __name__ == "__main__":
    _main(sys.argv[1:])
