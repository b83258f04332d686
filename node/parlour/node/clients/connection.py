"""One client's connection, from its first byte to its end: what is read goes to its session.

This module owns the reading side; it runs on the client's own thread. It must never write but through the connection's
writer, nor trust a byte of what it reads.
"""

from __future__ import annotations

import socket
import time

from parlour.dialects import JSON, Dialect, FramesDialect, recognise
from parlour.node.clients.context import ClientContext, RefusedClientError
from parlour.node.clients.session import Session
from parlour.node.clients.transport import TcpTransport
from parlour.node.clients.writer import ConnectionWriter
from parlour.wire.codec import frame
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import ClientMessage, Enter, Error, Hello, Ping

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
        self._dialect: Dialect = FramesDialect()  # until the first bytes tell
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

    def _greet(self) -> list[ClientMessage | Error]:
        """Read the hello and welcome the client; return what came with it. Raises ProtocolError."""
        deadline = time.monotonic() + self._settings.hello_deadline
        said: list[ClientMessage | Error] = []
        data = self._first_bytes(deadline)
        self._dialect = self._recognise(data)
        self.writer.variant = self._dialect.variant
        while True:
            said += self._dialect.feed(data)
            while said:
                message = said.pop(0)
                if isinstance(message, Hello):
                    self.session.welcome(message)
                    return said
                self._answer_before_hello(message)
            data = self._first_bytes(deadline)

    def _first_bytes(self, deadline: float) -> bytes:
        """Return what comes before the hello is whole; raises RefusedClientError at the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            self._transport.wait_at_most(max(left, 0.001))
            data = self._transport.receive()
            if data:
                return data
            if data is not None:
                raise ConnectionResetError
        raise RefusedClientError("no_hello", f"no whole hello came within {self._settings.hello_deadline:g} s")

    def _recognise(self, first: bytes) -> Dialect:
        try:
            return recognise(first)
        except ProtocolError:
            if first[:1].isascii() and first[:1].decode().isprintable():
                self.writer.variant = JSON  # for a person, or a program that speaks another text protocol
            raise

    def _answer_before_hello(self, message: ClientMessage | Error) -> None:
        if isinstance(message, Enter):
            self.session.direct(message)
        elif isinstance(message, Error):
            self.session.answer(message)
        else:
            error = RefusedClientError("no_hello", f"say hello first, not {type(message).__name__.lower()}")
            if not self._dialect.tolerant:
                raise error
            self.session.answer(Error(error.code, str(error)))

    def _serve(self, said: list[ClientMessage | Error]) -> None:
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
                said += self._dialect.feed(data)
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
