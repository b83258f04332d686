"""The answers to `enter`: where the brokers would send a client now.

This module owns one client's interval between such questions; it runs on the client's own thread. It must never tell a
client what is wrong with the brokers, nor where they are: that is for the operator.
"""

from __future__ import annotations

import time

from parlour.node.clients.context import ClientContext
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ParlourError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Enter, Entry, Error

__all__ = ["Entries"]

INTERVAL = 1.0
"""Seconds between two `enter` requests of a client: each one is a question to a broker."""

TIMEOUT = 1.0
"""Seconds for the brokers to answer that question."""


class Entries:
    """The answers to one client."""

    def __init__(self, context: ClientContext) -> None:
        self._context = context
        self._asked_at = float("-inf")  # when the client last asked, in monotonic seconds

    def answer(self, enter: Enter, name: str) -> Entry | Error:
        """Return where a client of this name should go, or why there is no answer; it may ask once a second."""
        now = time.monotonic()
        if not name:
            return Error("bad_request", "enter needs a name before hello: add the field name", enter.room)
        if now < self._asked_at + INTERVAL:
            text = f"enter is answered once in {INTERVAL:g} s: try again later"
            return Error("too_many_questions", text, enter.room, retry_after=INTERVAL)
        self._asked_at = now
        if not self._context.admission.begin_question():
            text = "too many clients ask this node where to go: try again later"
            return Error("too_many_questions", text, enter.room, retry_after=INTERVAL)
        try:
            return self._ask(name, enter.room)
        finally:
            self._context.admission.end_question()

    def _ask(self, name: str, room: str | None) -> Entry | Error:
        """Ask the brokers where a client of this name should go; return the answer for the client."""
        try:
            _, reply = ask(self._context.settings.brokers, Assign(name, room, protocol=PROTOCOL), TIMEOUT)
        except RefusedError as refused:
            return Error(refused.code, str(refused), room, retry_after=refused.retry_after)
        except ParlourError:
            # What is wrong with the brokers, and where they are, is for the operator: status and log tell it.
            text = "no broker answers this node now: ask again later, or stay at this node"
            return Error("no_broker", text, room, retry_after=INTERVAL)
        if isinstance(reply, Assigned):
            return Entry(reply.node, reply.address, reply.ticket, reply.expires_in)
        return Error("no_broker", "this node's broker gives no answer that is understood: stay at this node", room)
