"""One TCP connection to one node: frames are sent under a lock and read on a thread of its own.

This module owns the socket, its decoder and the reader thread, which answers pings, pings a node that is silent and
gives up a node that stays silent. Any thread may send, and none waits for the node: a writer thread sends the bytes
that the node does not take at once. A connection is used once: it must never reconnect, nor know what messages mean.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable

from parlour.client.errors import DisconnectedError, refusal
from parlour.client.waiting import wait_until
from parlour.runtime.forks import close_in_children
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import client_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import NodeDecoder, frame
from parlour.wire.errors import ProtocolError
from parlour.wire.limits import check_protocol, parse_address
from parlour.wire.messages import Bye, ClientMessage, Error, Hello, NodeMessage, Ping, Pong, Welcome

__all__ = ["Connection"]

_SILENCE = 15.0
"""Seconds of silence after which the node is pinged, and in which it must take some of the bytes sent."""

_SILENCES = 3
"""Number of silences in a row after which the node is given up."""

_CHUNK = 64 * 1024
"""Most bytes read at once."""

_AHEAD = 64 * 1024
"""Bytes that may wait for the node while more may be posted."""


class Connection:
    """A connection to the node at `address`, which has welcomed this client; `start` begins to read.

    Raises UsageError if the address is not valid, OSError if no node answers there within `timeout` seconds, NodeError
    if the node refuses the client, and ProtocolError if the peer does not speak the protocol.

    Attributes:
        end_code: the code of the fatal error with which the node ended the connection; empty until then.
    """

    def __init__(self, address: str, hello: Hello, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self.address = address
        self._decoder = NodeDecoder()
        self._early: list[NodeMessage] = []
        self._thread: threading.Thread | None = None
        self._name = hello.name
        self.end_code = ""  # written by the reader before it calls `on_lost`
        # Guards the sending half of _socket, so that frames never mix, and the five below; but the reader may read
        # _trouble, which never changes once the socket is shut. Rank 40.
        self._write_lock = make_lock(40, "connection")
        self._taken = threading.Condition(self._write_lock)
        self._unsent = bytearray()  # bytes that the node has not taken; the writer thread sends them
        self._writer: threading.Thread | None = None
        self._closed = False  # no frame may follow
        self._trouble: str | None = None  # why this side gave the node up
        self._closing = False  # this side ends the connection: that is no loss
        self._socket = socket.create_connection(parse_address(address), timeout)
        close_in_children(self._socket)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(frame(hello))
            self.welcome = self._await_welcome(deadline)
            # The system's own receive timeout: Python's would cost a poll and two more switches for each message.
            self._socket.settimeout(None)
            seconds, rest = divmod(_SILENCE, 1)
            silence = struct.pack("ll", int(seconds), int(rest * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)
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
                    raise refusal(message)
                if isinstance(message, Welcome):
                    try:
                        check_protocol(message.protocol)
                    except ValueError as error:
                        raise ProtocolError(str(error), "bad_version") from None
                    return message

    def start(self, name: str, on_message: Callable[[NodeMessage], None], on_lost: Callable[[str], object]) -> None:
        """Begin to read on a thread of this name, which calls `on_message` for each message except pings and the like.

        At the end it calls `on_lost` with the reason, unless `close` ended the connection.
        """
        self._thread = spawn(name, self._read, on_message, on_lost)

    def send(self, message: ClientMessage) -> None:
        """Send a message; raises UsageError if it is too large, DisconnectedError if it could not be sent.

        Does not wait for the node to take it. A thread that sends much should call `await_room` before.
        """
        data = frame(message)
        with self._write_lock:
            if self._closed or self._closing:
                raise DisconnectedError(f"the connection to {self.welcome.node} is closed")
            self._put(data)

    def await_room(self, deadline: float) -> bool:
        """Wait until the node has taken most of the bytes, or the connection ends; return False at the deadline."""
        with self._taken:
            return wait_until(self._taken, lambda: self._closed or len(self._unsent) <= _AHEAD, deadline)

    def close(self, timeout: float = 5.0) -> None:
        """Say bye, close the socket and join the threads within `timeout` seconds. May be called again."""
        deadline = time.monotonic() + timeout
        with self._taken:
            parting, self._closing = not (self._closed or self._closing), True
            try:
                if parting:
                    self._put(frame(Bye()))
            except DisconnectedError:
                pass  # The connection is gone already.
            # A node that reads nothing gets only half of the time.
            wait_until(self._taken, lambda: self._closed or not self._unsent, time.monotonic() + timeout / 2)
            self._give_up()
            threads = [thread for thread in (self._thread, self._writer) if thread is not None]
        join_all(threads, max(0.0, deadline - time.monotonic()))
        self._socket.close()

    def _put(self, data: bytes) -> None:
        """Send the bytes that the node takes at once, and leave the rest to the writer thread; the lock is held."""
        try:
            sent = 0
            if not self._unsent:
                try:
                    sent = self._socket.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass  # The node takes nothing now.
            self._unsent += data[sent:]
            if self._unsent and self._writer is None:
                self._writer = spawn(f"{self._name}-writer", self._write)
        except BaseException as error:
            # Part of the frame may have been sent (also if Ctrl-C came in between), so nothing can follow. The reader
            # thread wakes and tells.
            self._give_up()
            if isinstance(error, OSError | RuntimeError):  # RuntimeError: the system has no thread for the writer.
                raise DisconnectedError(f"the connection to {self.welcome.node} broke: {error}") from None
            raise

    def _write(self) -> None:
        """Send the bytes that wait, until none is left or the node has taken none for too long."""
        place = select.poll()
        place.register(self._socket, select.POLLOUT)
        while True:
            taking = place.poll(1000 * _SILENCE)
            with self._taken:
                try:
                    if taking and not self._closed:
                        del self._unsent[: self._socket.send(self._unsent, socket.MSG_DONTWAIT)]
                    else:
                        self._give_up(f"{self.welcome.node} takes nothing any more")
                except BlockingIOError:
                    continue
                except OSError:
                    self._give_up()
                self._taken.notify_all()
                if self._closed or not self._unsent:
                    self._writer = None
                    return

    def _give_up(self, trouble: str | None = None) -> None:
        """Send nothing any more; `trouble` is the reason if it is known only here. The lock is held."""
        if not self._closed:
            self._closed, self._trouble = True, trouble
        self._taken.notify_all()
        self._shut()

    def _shut(self) -> None:
        """Shut the socket, which wakes its threads; its descriptor stays open, so that no other file gets it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _read(self, on_message: Callable[[NodeMessage], None], on_lost: Callable[[str], object]) -> None:
        """Read the connection to its end and hand on each message. Only this thread reads the socket."""
        reason = f"a message of {self.welcome.node} could not be handled: a bug in parlour"
        try:
            reason = self._read_to_end(on_message)
        finally:
            with self._write_lock:
                self._give_up()
                lost = not self._closing
            if lost:
                client_log.warning("the connection was lost: %s", reason)
                on_lost(reason)

    def _read_to_end(self, on_message: Callable[[NodeMessage], None]) -> str:
        """Read until the connection ends; return the reason."""
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
                        self.end_code = message.code
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
                return self._trouble or f"{node} closed the connection"
            silences = 0
            messages = self._decoder.feed(data)
