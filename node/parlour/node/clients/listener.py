"""The listener of a node: it accepts connections and gives each to a thread of the pool, or refuses it.

This module owns the listening socket and its thread. It must never wait for a client: the client's own thread reads.
"""

from __future__ import annotations

import errno
import resource
import socket
import threading
from collections import deque
from ipaddress import ip_address

from parlour.dialects import Variant, recognise
from parlour.node.clients.arrivals import Arrivals
from parlour.node.clients.broadcast import RINGS
from parlour.node.clients.pool import ClientPool, Visitor
from parlour.node.people.refusal import RefusedClientError
from parlour.node.rooms.batch import Encoded
from parlour.runtime.addresses import numeric_address
from parlour.runtime.forks import close_in_children
from parlour.runtime.logs import Tally
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import frame
from parlour.wire.errors import ParlourError, ProtocolError
from parlour.wire.limits import parse_address
from parlour.wire.messages import Error

__all__ = ["RESERVED_FILES", "Listener"]

BACKLOG = 4096
"""Connections that may wait to be accepted: enough for a storm."""

KEPT_REFUSED = 64
"""Refused connections that stay open until more are refused."""

RESERVED_FILES = KEPT_REFUSED + 3 * RINGS + 64
"""Open files that clients must leave free: the node asks brokers, and libzmq ends a process that has no file left."""

_FULL = Encoded(frame(Error("full", "this node is full: ask the broker for another node", retry_after=1.0, fatal=True)))


class Listener:
    """The listening socket and the thread that accepts connections."""

    def __init__(self, address: str) -> None:
        """Bind to `address`; raises ParlourError if that is not possible."""
        self._stopping = threading.Event()
        self._refused: deque[socket.socket] = deque()
        host, port = parse_address(address)
        self._thread: threading.Thread | None = None
        try:
            number = numeric_address(host)
        except ParlourError as error:
            raise ParlourError(f"{error}: choose another with --listen") from None
        self._socket = socket.socket(socket.AF_INET6 if ":" in number else socket.AF_INET, socket.SOCK_STREAM)
        close_in_children(self._socket)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((number, port))
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            if error.errno == errno.EADDRINUSE:
                raise ParlourError(f"port {port} of {host} is in use: choose another with --listen") from None
            raise ParlourError(f"cannot listen on {address} ({error.strerror}): choose another with --listen") from None
        self.host, self.port = host, self._socket.getsockname()[1]
        self.is_local = ip_address(number.partition("%")[0]).is_loopback  # nobody on another machine can connect

    def start(self, name: str, pool: ClientPool, arrivals: Arrivals, refusals: Tally) -> None:
        """Accept connections in a thread of this name; give them to the pool, or refuse and count them."""
        self._thread = spawn(name, self._run, pool, arrivals, refusals, vital=True)

    def stop(self, timeout: float = 2.0) -> None:
        """Stop accepting, join the thread and close the socket."""
        self._stopping.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread from accept
        except OSError:
            pass
        if self._thread is not None:
            join_all([self._thread], timeout)
        self._socket.close()
        while self._refused:
            self._refused.popleft().close()

    def _refuse(self, sock: socket.socket, error: Encoded) -> None:
        try:
            sock.send(error.data(_variant_of(sock)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        # To close it now, with its hello unread, would reset the connection, and the client would not read the reason.
        self._refused.append(sock)
        if len(self._refused) > KEPT_REFUSED:
            self._refused.popleft().close()

    def _run(self, pool: ClientPool, arrivals: Arrivals, refusals: Tally) -> None:
        while not self._stopping.is_set():
            try:
                sock, peer = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._stopping.wait(0.05)  # until other connections have ended
                continue
            close_in_children(sock)
            try:
                place = arrivals.come(peer[0])
            except RefusedClientError as refusal:
                refusals.add(refusal.code)
                if refusal.code == "flood":
                    sock.close()  # it was told before
                else:
                    self._refuse(sock, Encoded(frame(refusal.told(fatal=True))))
                continue
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            if sock.fileno() >= limit - RESERVED_FILES or not pool.take(Visitor(sock, place)):
                place.leave()
                refusals.add("full")
                self._refuse(sock, _FULL)


def _variant_of(sock: socket.socket) -> Variant | None:
    """Return the variant that a client reads, by the bytes that it has sent so far; raises OSError."""
    try:
        return recognise(sock.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT)).variant
    except (BlockingIOError, ProtocolError):
        return None
