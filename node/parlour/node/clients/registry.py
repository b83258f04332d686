"""The connections of a node: which there are, which clients may come in, and how many are here.

This module owns that list; any thread may call it. It must never hold its mutex while something is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from parlour.node.clients.connection import Connection
from parlour.node.clients.context import ClientContext
from parlour.node.clients.session import Session
from parlour.node.clients.tickets import TicketBook
from parlour.node.cluster.load import Load
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import Tally
from parlour.wire.codec import decode_ticket, frame
from parlour.wire.messages import Bye, Hello

__all__ = ["ClientRegistry"]


class ClientRegistry:
    """All connections of one node."""

    def __init__(self, node: str, load: Load, refusals: Tally, changed: Callable[[int], object]) -> None:
        """Admit clients with tickets for `node`; call `changed` with the number of clients whenever it changes."""
        self._node = node
        self._load = load
        self._refusals = refusals
        self._changed = changed
        self._tickets = TicketBook()
        # Guards _connections, _clients and _dismissed. Rank 15.
        self._mutex = make_lock(15, "client registry")
        self._connections: set[Connection] = set()
        self._clients = 0
        self._dismissed = False

    # --- for the threads of clients -----------------------------------------------------------------------------

    def serve(self, context: ClientContext, sock: socket.socket) -> None:
        """Serve one connection to its end, on this thread."""
        connection = Connection(context, sock)
        with self._mutex:
            self._connections.add(connection)
            dismissed = self._dismissed
        if dismissed:
            connection.writer.hang_up()
        try:
            connection.run()
        finally:
            with self._mutex:
                self._connections.discard(connection)

    def admit(self, hello: Hello) -> None:
        """Let a client in, once for each ticket; raises ProtocolError if it may not come in now."""
        ticket = decode_ticket(hello.ticket)
        self._tickets.redeem(ticket, self._node, hello.name)
        self._load.redeem(ticket.id)

    def arrived(self) -> None:
        """Count a client that has been welcomed."""
        self._count(+1)

    def left(self) -> None:
        """Count a client that was welcomed and is gone."""
        self._count(-1)

    def refused(self, code: str) -> None:
        """Count a connection that was refused, or ended for an error."""
        self._refusals.add(code)

    def _count(self, change: int) -> None:
        with self._mutex:
            self._clients += change
            clients = self._clients
        self._changed(clients)

    # --- for the node -------------------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """How many clients are here."""
        with self._mutex:
            return self._clients

    def connections(self) -> int:
        """Return how many connections are open, those that have not said hello included."""
        with self._mutex:
            return len(self._connections)

    def sessions(self) -> list[Session]:
        """Return the clients that have been welcomed, the latest first: they have the least to lose by moving."""
        with self._mutex:
            welcomed = [connection.session for connection in self._connections if connection.session.id]
        return sorted(welcomed, key=lambda session: session.since, reverse=True)

    def dismiss(self) -> int:
        """Tell every client that the node stops, and end all connections; return how many clients there were."""
        with self._mutex:
            self._dismissed = True
            connections, clients = list(self._connections), self._clients
        bye = frame(Bye("the node is stopping"))
        for connection in connections:
            connection.writer.answer(bye)
            connection.writer.hang_up()
        return clients
