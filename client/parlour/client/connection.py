"""One TCP connection to one node: frames out under a lock, frames in on a thread of its own.

This module owns the socket, its decoder and the reader thread, which answers pings, asks after a node that is silent
and gives up one that stays so. Any thread may send. A connection is used once: it must never reconnect, nor know what
its messages mean.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable

from parlour.client.errors import DisconnectedError, NodeError
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import NodeDecoder, frame
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import check_protocol, parse_address
from parlour.wire.messages import Bye, ClientMessage, Error, Hello, NodeMessage, Ping, Pong, Welcome

__all__ = ["Connection"]

_SILENCE = 15.0
"""Seconds of silence after which the node is pinged, and within which it must take what is sent."""

_SILENCES = 3
"""So many silences in a row, and the node is given up."""

_CHUNK = 64 * 1024
"""Bytes read at once."""


class Connection:
    """A connection to the node at `address`, which has welcomed this client; `start` begins the reading.

    Raises OSError if there is no node, or none that answers within `timeout` seconds, NodeError if it says no, and
    ProtocolError if it does not speak the protocol.
    """

    def __init__(self, address: str, hello: Hello, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self.address = address
        self._decoder = NodeDecoder()
        self._early: list[NodeMessage] = []
        self._thread: threading.Thread | None = None
        # Guards the sending half of _socket, so that frames never mix, and _closed. Rank 40.
        self._write_lock = make_lock(40, "connection")
        self._closed = False  # no frame may follow
        self._closing = False  # the end is ours, and no loss
        self._socket = socket.create_connection(parse_address(address), timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(frame(hello))
            self.welcome = self._await_welcome(deadline)
            # The socket's own deadlines: with Python's each message costs a poll more, and the interpreter twice.
            self._socket.settimeout(None)
            seconds, rest = divmod(_SILENCE, 1)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(rest * 1e6)))
        except BaseException:
            self._socket.close()
            raise

    def _await_welcome(self, deadline: float) -> Welcome:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.address} did not answer in time")
            self._socket.settimeout(left)
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError(f"{self.address} closed the connection at once")
            self._early.extend(self._decoder.feed(data))
            while self._early:
                message = self._early.pop(0)
                if isinstance(message, Error):
                    raise NodeError(message.text, message.code, message.retry_after)
                if isinstance(message, Welcome):
                    try:
                        check_protocol(message.protocol)
                    except ValueError as error:
                        raise ProtocolError(str(error), "bad_version") from None
                    return message

    def start(self, name: str, on_message: Callable[[NodeMessage], None], on_lost: Callable[[str], None]) -> None:
        """Begin to read, on a thread of this name, which calls `on_message` for each message that means something.

        `on_lost` is called at the end, with the reason, unless it was `close` that ended it.
        """
        self._thread = spawn(name, self._read, on_message, on_lost)

    def send(self, message: ClientMessage) -> None:
        """Send a message; raises UsageError if it is too large, DisconnectedError if it could not be sent."""
        data = frame(message)
        with self._write_lock:
            if self._closed:
                raise DisconnectedError(f"the connection to {self.welcome.node} is closed")
            try:
                self._socket.sendall(data)
            except BaseException as error:
                # Part of the frame may be on its way (also when Ctrl-C came between): nothing can follow it. The
                # reader wakes and tells.
                self._closed = True
                self._shut()
                if isinstance(error, BlockingIOError):
                    raise DisconnectedError(f"{self.welcome.node} takes nothing any more") from None
                if isinstance(error, OSError):
                    raise DisconnectedError(f"the connection to {self.welcome.node} broke: {error}") from None
                raise

    def close(self, timeout: float = 5.0) -> None:
        """Say bye, close the socket and join the reader within `timeout` seconds; harmless if done before."""
        deadline = time.monotonic() + timeout
        self._closing = True
        # A writer that is stuck is not waited for to the end: the shutdown below frees it.
        if self._write_lock.acquire(timeout=timeout / 2):
            try:
                if not self._closed:
                    self._closed = True
                    self._socket.settimeout(timeout / 4)
                    self._socket.sendall(frame(Bye()))
            except OSError:
                pass  # Gone already, which is all that was wanted.
            finally:
                self._write_lock.release()
        self._shut()
        if self._thread is not None:
            join_all([self._thread], max(0.0, deadline - time.monotonic()))
        self._socket.close()

    def _shut(self) -> None:
        """Wake every thread that reads or writes here; the descriptor stays, so that none is mistaken for it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _read(self, on_message: Callable[[NodeMessage], None], on_lost: Callable[[str], None]) -> None:
        reason = f"what {self.welcome.node} sent could not be handled"
        try:
            reason = self._read_to_end(on_message)
        finally:
            self._shut()
            with self._write_lock:
                self._closed = True
            if not self._closing:
                on_lost(reason)

    def _read_to_end(self, on_message: Callable[[NodeMessage], None]) -> str:
        """Read until the connection ends; return why it did."""
        node = self.welcome.node
        silences = 0
        messages: Iterable[NodeMessage] = self._early
        while True:
            try:
                for message in messages:
                    if isinstance(message, Ping):
                        self.send(Pong())
                    elif isinstance(message, Bye):
                        return f"{node} closed the connection" + (f": {message.reason}" if message.reason else "")
                    elif isinstance(message, Error) and message.fatal:
                        return f"{node} closed the connection: {message.text}"
                    elif not isinstance(message, Pong):
                        on_message(message)
                try:
                    data = self._socket.recv(_CHUNK)
                except BlockingIOError:
                    silences += 1
                    if silences == _SILENCES:
                        return f"{node} has been silent for {_SILENCE * _SILENCES:g} s"
                    self.send(Ping())
                    messages = ()
                    continue
            except ProtocolError as error:
                return f"{node} does not keep to the protocol: {error}"
            except DisconnectedError as error:
                return str(error)
            except OSError as error:
                return f"the connection to {node} broke: {error.strerror or error}"
            if not data:
                return f"{node} closed the connection"
            silences = 0
            messages = self._decoder.feed(data)
