"""The transport of one client's connection: plain TCP.

This module owns the socket's calls: the client's own thread reads and closes; any thread may send and shut down, under
the mutex of the connection's writer. It must never wait in a send.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from parlour.node.clients.broadcast import send

__all__ = ["CHUNK", "TcpTransport"]

CHUNK = 16 * 1024
"""Bytes read at once, at most: messages that have come together are handled together."""


class TcpTransport:
    """A TCP connection; `socket` is for code that sends to many sockets at once, or waits for many."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @property
    def address(self) -> str:
        """The client's IP address; empty if the connection is gone."""
        try:
            host = ip_address(self.socket.getpeername()[0].partition("%")[0])
        except OSError:
            return ""
        # A listener for both kinds sees an IPv4 address as an IPv6 one.
        return str(getattr(host, "ipv4_mapped", None) or host)

    def prepare(self) -> None:
        """Have small messages sent at once; raises OSError if the connection is gone."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def set_receive_timeout(self, seconds: float) -> None:
        """Let `receive` wait at most so many seconds; the socket's own option saves a poll before each read."""
        whole = int(seconds)
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6))
        )

    def receive(self, most: int = CHUNK) -> bytes | None:
        """Return the next bytes; empty at the end of the stream, None if nothing came in time. Raises OSError."""
        try:
            return self.socket.recv(most)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Send without waiting; return the number of bytes sent, or the negative error number (-EAGAIN: try later)."""
        return send(self.socket, data)

    def end_output(self) -> None:
        """Send nothing more; the client may go on sending. Raises OSError if the connection is gone."""
        self.socket.shutdown(socket.SHUT_WR)

    def shut_down(self) -> None:
        """End the connection both ways, which wakes the reading thread; do nothing if the connection is gone."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client has ended it before

    def close(self) -> None:
        """Close the socket; the reading thread alone calls this."""
        self.socket.close()
