"""One client's connection, from its first byte to its end: it reads messages and gives them to its session.

This module owns the reading side; it runs on the client's own thread. It must never write except through the
connection's writer, nor trust a byte that it reads.
"""

from __future__ import annotations

import socket
import time

from parlour.dialects import JSON, Dialect, FramesDialect, recognise
from parlour.node.clients.arrivals import Place
from parlour.node.clients.context import ClientContext
from parlour.node.clients.session import Session
from parlour.node.clients.throttle import Throttle
from parlour.node.clients.transport import TcpTransport
from parlour.node.clients.writer import ConnectionWriter
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.codec import frame
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import ClientMessage, Enter, Error, Hello, Ping
from parlour.wire.signin import Auth

__all__ = ["Connection"]

LINGER = 0.5
"""Seconds for which the node reads on after it sent the last frame: an unread byte would make the system drop it."""

_PING = frame(Ping())


class Connection:
    """One connection; `run` serves it to its end."""

    def __init__(self, context: ClientContext, sock: socket.socket, place: Place) -> None:
        self._context = context
        self._settings = context.settings
        self._place = place
        self._transport = TcpTransport(sock)
        self._dialect: Dialect = FramesDialect()  # until the first bytes tell the real one
        self._fault: ProtocolError | None = None  # why the connection ends, once the messages before it are handled
        self._heard_at = time.monotonic()
        self._hello_by = 0.0  # when a whole hello must have come, in monotonic seconds
        self.writer = ConnectionWriter(self._transport, context.settings.unread_answers, context.catchup.watch)
        self.session = Session(context, self.writer, self._transport.address)
        self._throttle = Throttle(context.limiter, self.session, self.session.answer)

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
                self._throttle.close()
                self.session.end()
        except ProtocolError as error:
            admission.refused(error.code)
            refusal = error if isinstance(error, RefusedClientError) else RefusedClientError(error.code, str(error))
            self.writer.answer(frame(refusal.told(fatal=True)))
            self._linger()
        except OSError:
            pass  # the connection broke: the client knows it, or is gone
        finally:
            self.writer.hang_up()
            if self.writer.lagging:
                self._context.catchup.watch(self.writer)  # drops the writer, as it is closed
            self._transport.close()

    def _greet(self) -> list[ClientMessage | Error]:
        """Read the hello and welcome the client; return the messages that came with it. Raises ProtocolError."""
        self._hello_by = time.monotonic() + self._settings.hello_deadline
        messages: list[ClientMessage | Error] = []
        data = self._first_bytes()
        self._dialect = self._recognise(data)
        self.writer.variant = self._dialect.variant
        while True:
            messages += self._messages_in(data)
            while messages:
                message = messages.pop(0)
                if isinstance(message, Hello):
                    time.sleep(self._place.sign_in(message))
                    self.session.welcome(message)
                    return messages
                self._answer_before_hello(message)
            self._check_fault()
            data = self._first_bytes()

    def _first_bytes(self) -> bytes:
        """Return the next bytes of the hello; raises RefusedClientError at the deadline."""
        while (left := self._hello_by - time.monotonic()) > 0:
            self._transport.set_receive_timeout(max(left, 0.001))
            data = self._transport.receive()
            if data:
                return data
            if data is not None:
                raise ConnectionResetError
        raise RefusedClientError("no_hello", f"no complete hello came within {self._settings.hello_deadline:g} s")

    def _recognise(self, first: bytes) -> Dialect:
        try:
            return recognise(first)
        except ProtocolError:
            if first[:1].isascii() and first[:1].decode().isprintable():
                self.writer.variant = JSON  # readable by a person, or a program that speaks another text protocol
            raise

    def _answer_before_hello(self, message: ClientMessage | Error) -> None:
        if isinstance(message, Enter):
            self.session.answer_enter(message)
        elif isinstance(message, Auth):
            began = time.monotonic()
            time.sleep(self._place.sign_in(message))
            self.session.authenticate(message)
            self._hello_by += time.monotonic() - began  # the client does not wait for the node in its own time
        elif isinstance(message, Error):
            self.session.answer(message)
        else:
            error = RefusedClientError("no_hello", f"say hello first, not {type(message).__name__.lower()}")
            if not self._dialect.tolerant:
                raise error
            self.session.answer(Error(error.code, str(error)))

    def _serve(self, messages: list[ClientMessage | Error]) -> None:
        self._transport.set_receive_timeout(self._settings.ping_after)
        session, throttle = self.session, self._throttle
        session.handle(throttle.admit(messages, 0), 0)
        self._check_fault()
        while not session.over:
            if throttle.pause:
                time.sleep(throttle.pause)
            data = self._transport.receive(throttle.sip)
            if data is None:
                if time.monotonic() - self._heard_at >= self._settings.dead_after:
                    raise RefusedClientError("silent", "nothing was heard for too long")
                self.writer.answer(_PING)
                continue
            if not data:
                return
            self._heard_at = time.monotonic()
            session.handle(throttle.admit(self._messages_in(data), len(data)), len(data))
            self._check_fault()

    def _messages_in(self, data: bytes) -> list[ClientMessage | Error]:
        """Return the messages that the bytes complete; a fault waits for `_check_fault`, which follows them."""
        messages: list[ClientMessage | Error] = []
        try:
            messages += self._dialect.feed(data)
        except ProtocolError as fault:
            self._fault = fault
        return messages

    def _check_fault(self) -> None:
        """Raise the ProtocolError that ends the connection, if the client has made such a fault."""
        if self._fault is not None:
            raise self._fault

    def _linger(self) -> None:
        """Let the client read the last frame: end the node's side, and read on until the client ends its own."""
        try:
            self._transport.end_output()
            self._transport.set_receive_timeout(LINGER)
            deadline = time.monotonic() + LINGER
            while time.monotonic() < deadline and self._transport.receive():
                pass
        except OSError:
            pass
