"""The connections of a node: their list, the admission of clients, and the number of clients.

This module owns that list; any thread may call it. It must never hold its mutex while it sends.
"""

from __future__ import annotations

from collections.abc import Callable

from parlour.node.clients.connection import Connection
from parlour.node.clients.context import ClientContext
from parlour.node.clients.pool import Visitor
from parlour.node.clients.session import Session
from parlour.node.clients.tickets import TicketBook
from parlour.node.clients.tokenbucket import TokenBucket
from parlour.node.cluster.load import Load
from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import Tally
from parlour.wire.codec import decode_ticket, frame
from parlour.wire.messages import Bye, Hello
from parlour.wire.people import Person

__all__ = ["MAX_ASKING", "ClientRegistry"]

MAX_ASKING = 8
"""Questions to brokers that clients may have open at once: each one needs files, of which a node keeps few free."""

QUESTIONS = 20.0
"""Questions to brokers a second: each answer is a ticket, which takes a place in the fleet for 30 s, used or not."""


class ClientRegistry:
    """All connections of one node."""

    def __init__(self, node: str, admits: float, load: Load, refusals: Tally, changed: Callable[[int], object]) -> None:
        """Admit clients with tickets for `node`, and at most `admits` clients a second without one.

        Calls `changed` with the number of clients whenever it changes.
        """
        self._node = node
        self.draining = False  # whether the node takes no new clients
        self._load = load
        self._refusals = refusals
        self._changed = changed
        self._tickets = TicketBook()
        # Guards _connections, _clients, _asking, _newcomers, _questions and _dismissed. Rank 15.
        self._mutex = make_lock(15, "client registry")
        self._connections: set[Connection] = set()
        self._clients = 0
        self._asking = 0  # questions to brokers that are open now
        self._newcomers = TokenBucket(admits)  # clients without a ticket
        self._questions = TokenBucket(QUESTIONS)  # questions to brokers
        self._dismissed = False

    # --- for the threads of clients -----------------------------------------------------------------------------

    def serve(self, context: ClientContext, visitor: Visitor) -> None:
        """Serve one connection to its end, on this thread."""
        connection = Connection(context, visitor.socket, visitor.place)
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
            visitor.place.leave()

    def admit(self, hello: Hello) -> None:
        """Let a client in, once for each ticket or without one; raises ProtocolError if it may not come in now."""
        if not hello.ticket:
            self._admit_without_ticket()
            return
        ticket = decode_ticket(hello.ticket)
        self._tickets.redeem(ticket, self._node, hello.name)
        self._load.redeem(ticket.id)

    def _admit_without_ticket(self) -> None:
        """Let a client in that no broker has sent here, unless the node drains or its rate is reached."""
        if self.draining:
            raise RefusedClientError("full", "this node is about to stop: connect to another one", 1.0)
        with self._mutex:
            if not self._newcomers.take():
                raise RefusedClientError("storm", "too many clients come at the same time: try again in a second", 1.0)

    def arrived(self) -> None:
        """Count a client that has been welcomed."""
        self._count(+1)

    def left(self) -> None:
        """Count a client that was welcomed and is gone."""
        self._count(-1)

    def refused(self, code: str) -> None:
        """Count a connection that was refused, or that an error ended."""
        self._refusals.add(code)

    def begin_question(self) -> bool:
        """Count a question to the brokers that begins; return False if too many are open, or came in this second."""
        with self._mutex:
            free = self._asking < MAX_ASKING and self._questions.take()
            self._asking += free
            return free

    def end_question(self) -> None:
        """Count a question to the brokers that has ended."""
        with self._mutex:
            self._asking -= 1

    def _count(self, change: int) -> None:
        with self._mutex:
            self._clients += change
            clients = self._clients
        self._changed(clients)

    # --- for the node -------------------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """The number of clients."""
        with self._mutex:
            return self._clients

    def connections(self) -> int:
        """Return the number of open connections, with those that have not said hello."""
        with self._mutex:
            return len(self._connections)

    def sessions(self) -> list[Session]:
        """Return the sessions of all welcomed clients, the latest first: these lose least when they move."""
        with self._mutex:
            welcomed = [connection.session for connection in self._connections if connection.session.id]
        return sorted(welcomed, key=lambda session: session.since, reverse=True)

    def people(self) -> list[tuple[str, Person]]:
        """Return the sessions of all welcomed clients, each with its person."""
        with self._mutex:
            found = [(connection.session.id, connection.session.person) for connection in self._connections]
        return [(session, person) for session, person in found if session]

    def cut_off(self, session: str, refusal: RefusedClientError) -> int:
        """End the connections of a session for good, and tell it why; return their number."""
        with self._mutex:
            found = [connection for connection in self._connections if connection.session.id == session]
        for connection in found:
            connection.session.cut_off = True
            connection.writer.answer(frame(refusal.told(fatal=True)))
            connection.writer.hang_up()
        return len(found)

    def dismiss(self) -> int:
        """Tell every client that the node stops, and end all connections; return the number of clients."""
        with self._mutex:
            self._dismissed = True
            connections, clients = list(self._connections), self._clients
        bye = frame(Bye("the node is stopping"))
        for connection in connections:
            connection.writer.answer(bye)
            connection.writer.hang_up()
        return clients
