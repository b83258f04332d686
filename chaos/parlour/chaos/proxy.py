"""What stands between clients and nodes, so that a connection can be cut in the middle of a frame.

This module owns the sockets that nodes advertise as theirs and every connection through them; all of it runs on the
main thread of a process of its own, so that it does not wait for the clients' threads. It must never hold back what it
can hand on.

Standard input says whom to cut, `up NAME` or `down NAME` a line, where the word is the half of the connection that
ends in mid-frame; each line is answered on standard output when it is done, by the name, or by an empty line if there
is no such client. The end of standard input ends the process.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence

from msgspec.structs import replace

from parlour.chaos.ports import HOST
from parlour.runtime.descriptors import raise_limit
from parlour.wire.codec import ClientDecoder, frames
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import ClientMessage, Hello, Join

__all__ = ["FORGETFUL", "Proxy"]

FORGETFUL = "--forgetful"
"""The argument that has the proxy take the position out of every join: the deliberate fault of `--break resume`."""

CHUNK = 64 * 1024

PATIENCE = 1.0
"""Seconds to wait for a frame in the middle of which to cut."""

TICK = 0.05
"""Seconds between two looks at that patience."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time; close then sends a reset


class _End:
    """One end of a connection: a socket, what it has not taken yet, and whether it has said, and been told, all."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.pending = b""
        self.ended = False
        self.told = False


class _Way:
    """A connection of a client and one to its node, each of which gets what the other sends."""

    def __init__(self, client: socket.socket, node: socket.socket) -> None:
        self.client = _End(client)
        self.node = _End(node)
        self.ends = {client.fileno(): (self.client, self.node), node.fileno(): (self.node, self.client)}
        self.decoder = ClientDecoder()
        self.name: str | None = None
        self.cut: tuple[_End, float] | None = None  # the end whose next chunk is the last, and until when to wait


class Proxy:
    """Listens at some ports for clients, and hands each on to the port of the node behind; `run` is all of it."""

    def __init__(self, ports: Sequence[tuple[int, int]], forgetful: bool) -> None:
        """Listen at the first port of each pair for the node at the second; raises OSError if that cannot be."""
        self._forgetful = forgetful
        self._epoll = select.epoll()
        self._doors: dict[int, tuple[socket.socket, int]] = {}
        self._ways: dict[int, _Way] = {}
        self._named: dict[str, _Way] = {}
        self._orders = b""
        for port, target in ports:
            door = socket.create_server((HOST, port), backlog=4096)
            door.setblocking(False)
            self._doors[door.fileno()] = door, target
            self._epoll.register(door, select.EPOLLIN)

    def run(self, orders: int) -> None:
        """Hand on what comes, and cut whom `orders`, a descriptor, says, until that ends."""
        self._epoll.register(orders, select.EPOLLIN)
        while True:
            for descriptor, events in self._epoll.poll(TICK if self._cutting() else None):
                if descriptor == orders:
                    if not self._obey(os.read(orders, CHUNK)):
                        return
                elif descriptor in self._doors:
                    self._accept(*self._doors[descriptor])
                elif descriptor in self._ways:
                    self._serve(self._ways[descriptor], descriptor, events)

    def _obey(self, data: bytes) -> bool:
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            half, _, name = line.decode().partition(" ")
            way = self._named.get(name)
            if way is None or way.cut is not None:
                print(flush=True)
            else:
                way.cut = way.client if half == "up" else way.node, time.monotonic() + PATIENCE
        return bool(data)

    def _cutting(self) -> bool:
        """Reset those in which nothing came to cut; return whether others wait."""
        now = time.monotonic()
        waiting = [way for way in self._named.values() if way.cut is not None]
        for way in waiting:
            if way.cut is not None and way.cut[1] <= now:
                self._reset(way)
        return bool(waiting)

    # --- connections ------------------------------------------------------------------------------------------

    def _accept(self, door: socket.socket, target: int) -> None:
        try:
            client, _ = door.accept()
        except OSError:
            return  # It has thought better of it.
        node = socket.socket()
        way = _Way(client, node)
        # Refused or not, what comes of it is seen when it is read.
        node.connect_ex((HOST, target))
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
        for one, two in ((end, other), (other, end)):
            wanted = select.EPOLLIN if not one.ended and not two.pending else 0
            self._epoll.modify(one.socket, wanted | (select.EPOLLOUT if one.pending else 0))

    def _send(self, end: _End, data: bytes) -> None:
        data = end.pending + data
        try:
            end.pending = data[end.socket.send(data) :] if data else b""
        except BlockingIOError:
            end.pending = data

    def _read(self, way: _Way, data: bytes) -> bytes:
        """Learn the client's name from its first frame; return what is to be handed on."""
        if way.name is not None and not self._forgetful:
            return data
        messages: list[ClientMessage] = list(way.decoder.feed(data))
        if way.name is None and messages and isinstance(messages[0], Hello):
            way.name = messages[0].name
            # A client that moves is here twice for a moment: the new connection is the one that counts.
            self._named[way.name] = way
        if not self._forgetful:
            return data
        return frames(replace(m, after=None, epoch=None) if isinstance(m, Join) else m for m in messages)

    def _reset(self, way: _Way) -> None:
        for end in (way.client, way.node):
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(way)

    def _close(self, way: _Way) -> None:
        for descriptor in way.ends:
            del self._ways[descriptor]
        for end in (way.client, way.node):
            end.socket.close()
        if way.cut is not None:
            print(way.name, flush=True)
        if way.name is not None and self._named.get(way.name) is way:
            del self._named[way.name]


def _main(arguments: Sequence[str]) -> None:
    raise_limit()
    pairs = [argument.split(":") for argument in arguments if argument != FORGETFUL]
    proxy = Proxy([(int(port), int(target)) for port, target in pairs], FORGETFUL in arguments)
    print("ready", flush=True)
    proxy.run(sys.stdin.fileno())


if __name__ == "__main__":
    _main(sys.argv[1:])
