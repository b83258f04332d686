"""The bytes of one client's connection: plain TCP.

This module owns the socket's calls. The client's own thread reads and closes; any thread may send and shut down, under
the mutex of the connection's writer. A send must never wait.
"""

from __future__ import annotations

import socket
import struct

from parlour.node.clients.broadcast import send

__all__ = ["CHUNK", "TcpTransport"]

CHUNK = 16 * 1024
"""Bytes read at once: all messages that are there are taken together, within reason."""


class TcpTransport:
    """A TCP connection; `socket` is for those who send to many at once, and wait for many."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def prepare(self) -> None:
        """Make ready for small messages; raises OSError if the connection is gone."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def wait_at_most(self, seconds: float) -> None:
        """Let `receive` return after so long; the socket's own option spares a poll before each read."""
        whole = int(seconds)
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6))
        )

    def receive(self) -> bytes | None:
        """Return what there is, empty at the end of the stream, None if nothing came in time; raises OSError."""
        try:
            return self.socket.recv(CHUNK)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Send without waiting; return how many bytes went, or the error's number below zero (-EAGAIN: none now)."""
        return send(self.socket, data)

    def end_output(self) -> None:
        """Send nothing more; the client may go on sending. Raises OSError if the connection is gone."""
        self.socket.shutdown(socket.SHUT_WR)

    def shut_down(self) -> None:
        """End the connection both ways, which wakes the thread that reads; harmless if it is gone."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was quicker

    def close(self) -> None:
        """Give the socket back; its reading thread alone calls this."""
        self.socket.close()
