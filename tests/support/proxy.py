"""A TCP proxy between clients and a node, which cuts connections where the test wants, even within a frame.

This module owns the proxy's sockets; one thread carries all bytes. It must never change a byte that it forwards.
"""

from __future__ import annotations

import select
import socket

from parlour.runtime.threads import Service
from parlour.wire.limits import parse_address

__all__ = ["Proxy"]


class Proxy(Service):
    """Forwards connections at `address` to a node; `cut_after(n)` cuts each of them n bytes later."""

    def __init__(self) -> None:
        super().__init__("proxy")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.target = ""
        self._left: int | None = None
        self.cuts = 0

    def cut_after(self, count: int) -> None:
        """Forward `count` more bytes to the connected client, then reset its connection, once."""
        self._left = count

    def run(self) -> None:
        """Forward bytes until stopped."""
        pairs: dict[socket.socket, socket.socket] = {}
        nodes: set[socket.socket] = set()
        self.ready()
        with self._listener:
            while not self.stopping:
                sources: list[socket.socket | int] = [self._listener, self.wakeup, *pairs]
                ready, _, _ = select.select(sources, [], [], 1.0)
                for source in ready:
                    if source is self._listener:
                        client, _ = self._listener.accept()
                        node = socket.create_connection(parse_address(self.target), 5)
                        pairs[client], pairs[node] = node, client
                        nodes.add(node)
                    elif isinstance(source, socket.socket) and source in pairs:
                        self._carry(source, pairs, nodes)
            for each in pairs:
                each.close()

    def _carry(
        self, source: socket.socket, pairs: dict[socket.socket, socket.socket], nodes: set[socket.socket]
    ) -> None:
        sink = pairs[source]
        try:
            data = source.recv(65536)
            if source in nodes and self._left is not None and data:
                data, self._left = data[: self._left], self._left - len(data)
            if data:
                sink.sendall(data)
        except OSError:
            data = b""
        cut = self._left is not None and self._left <= 0 and source in nodes
        if cut:
            self._left = None
            self.cuts += 1
        if cut or not data:
            for each in (source, sink):
                del pairs[each]
                nodes.discard(each)
                each.close()
