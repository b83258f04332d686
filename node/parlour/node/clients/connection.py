"""One client's connection, from its first byte to its end: what is read goes to its session.

This module owns the reading side; it runs on the client's own thread. It must never write but through the connection's
writer, nor trust a byte of what it reads.
"""

from __future__ import annotations

import socket
import time

from parlour.node.clients.context import ClientContext, RefusedClientError
from parlour.node.clients.session import Session
from parlour.node.clients.transport import TcpTransport
from parlour.node.clients.writer import ConnectionWriter
from parlour.wire.codec import ClientDecoder, frame
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import ClientMessage, Error, Hello, Ping

__all__ = ["Connection"]

DRAIN = 0.5
"""Seconds a connection is read on after its last frame was sent: an unread byte would make the system drop it."""

_PING = frame(Ping())


class Connection:
    """One connection; `run` is all of it."""

    def __init__(self, context: ClientContext, sock: socket.socket) -> None:
        self._context = context
        self._settings = context.settings
        self._transport = TcpTransport(sock)
        self._decoder = ClientDecoder()
        self._heard_at = time.monotonic()
        self.writer = ConnectionWriter(self._transport, context.settings.unread_answers, context.catchup.watch)
        self.session = Session(context, self.writer)

    def run(self) -> None:
        """Serve the client until it or the node ends the connection; close the socket."""
        admission = self._context.admission
        try:
            self._transport.prepare()
            rest = self._greet()
            admission.arrived()
            try:
                self._serve(rest)
            finally:
                admission.left()
                self.session.end()
        except ProtocolError as error:
            admission.refused(error.code)
            retry_after = error.retry_after if isinstance(error, RefusedClientError) else None
            self.writer.answer(frame(Error(error.code, str(error), retry_after=retry_after, fatal=True)))
            self._drain()
        except OSError:
            pass  # the connection broke: the client knows, or is gone
        finally:
            self.writer.hang_up()
            if self.writer.lagging:
                self._context.catchup.watch(self.writer)  # sees that it is closed, and drops it
            self._transport.close()

    def _greet(self) -> list[ClientMessage]:
        """Read the hello and welcome the client; return what came with it. Raises ProtocolError."""
        deadline = time.monotonic() + self._settings.hello_deadline
        said: list[ClientMessage] = []
        while not said:
            left = deadline - time.monotonic()
            if left <= 0:
                raise RefusedClientError("no_hello", f"no whole hello came within {self._settings.hello_deadline:g} s")
            self._transport.wait_at_most(max(left, 0.001))
            data = self._transport.receive()
            if data is None:
                continue
            if not data:
                raise ConnectionResetError
            said += self._decoder.feed(data)
        hello = said.pop(0)
        if not isinstance(hello, Hello):
            raise RefusedClientError("no_hello", f"the first frame must be hello, not {type(hello).__name__.lower()}")
        self.session.welcome(hello)
        return said

    def _serve(self, said: list[ClientMessage]) -> None:
        self._transport.wait_at_most(self._settings.ping_after)
        self.session.handle(said, 0)
        while not self.session.over:
            data = self._transport.receive()
            if data is None:
                if time.monotonic() - self._heard_at >= self._settings.dead_after:
                    raise RefusedClientError("silent", "nothing was heard for too long")
                self.writer.answer(_PING)
                continue
            if not data:
                return
            self._heard_at = time.monotonic()
            said = []
            try:
                said += self._decoder.feed(data)
            finally:
                # Also when the last frame is broken: those before it were not.
                self.session.handle(said, len(data))

    def _drain(self) -> None:
        """Let the client read the last frame: end our side, and read on until it ends its own."""
        try:
            self._transport.end_output()
            self._transport.wait_at_most(DRAIN)
            deadline = time.monotonic() + DRAIN
            while time.monotonic() < deadline and self._transport.receive():
                pass
        except OSError:
            pass
