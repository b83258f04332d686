"""The plan by which a chat that lost its connection tries again: when, with what question to the brokers, how long.

This module owns what is known of the attempts that failed. It is pure: the reconnector's thread tells it what happened
and the time. It must never give up while another attempt may succeed, unless the application limited the time.
"""

from __future__ import annotations

from parlour.client.backoff import BRIEF, LONGEST, Backoff
from parlour.client.dialing import DialError
from parlour.client.errors import NodeError
from parlour.runtime.broker_rpc import RefusedError
from parlour.wire.control import Assign
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import PROTOCOL

__all__ = ["FINAL", "Retry"]

FINAL = frozenset({"bad_version", "name_taken", "bad_login", "disabled", "no_guests", "banned", "kicked"})
"""Codes of refusals after which a client must not come back by itself."""

STEADY = 5.0
"""Seconds after which a connection counts as steady: after its loss the waits begin anew."""

_NEVER = float("inf")


class Retry:
    """The attempts of the client `name` to come back, for at most `give_up` seconds at a time. Times are monotonic.

    Attributes:
        name: the name that the brokers are told.
        turn_at: the broker that refused last, if it keeps a turn for this client: ask it first.
    """

    def __init__(self, name: str, give_up: float | None) -> None:
        self.turn_at: str | None = None
        self.name = name
        self._give_up = give_up
        self._backoff = Backoff()
        self._failed: list[str] = []  # nodes that failed since the connection was lost
        self._lost_at = 0.0
        self._trouble = ""  # why the last attempt failed, after a colon
        self._at: float | None = None  # when to try next; None while an attempt runs

    def lost(self, node: str, since: float, now: float) -> None:
        """Note that the connection to a node, open since then, was lost."""
        self._lost_at = now
        self._failed = [node]
        if now - since >= STEADY:
            self._backoff = Backoff()

    def begin(self, now: float) -> None:
        """Plan an attempt: at once after the first loss, later after further losses."""
        self._at = now + self._backoff.next()

    def due(self) -> float:
        """Return when to try next or to give up, whichever is earlier."""
        give_up_at = _NEVER if self._give_up is None else self._lost_at + self._give_up
        return give_up_at if self._at is None else min(self._at, give_up_at)

    def end(self, now: float) -> str | None:
        """Return the reason to give up if the time for coming back is over, else None."""
        if self._give_up is None or now < self._lost_at + self._give_up:
            return None
        lost = f"the connection was lost, and no other was found within {self._give_up:g} s"
        return lost + self._trouble

    def next(self, now: float) -> Assign | None:
        """Return the question for the brokers if it is time for an attempt, which the caller then makes."""
        if self._at is None or now < self._at:
            return None
        self._at = None
        return Assign(self.name, failed=list(self._failed), protocol=PROTOCOL)

    def failed(self, error: Exception, now: float) -> str | None:
        """Note why an attempt failed; return the reason if no other attempt can succeed, else None."""
        cause = error.cause if isinstance(error, DialError) else error
        code = cause.code if isinstance(cause, RefusedError | NodeError | ProtocolError) else None
        retry_after = cause.retry_after if isinstance(cause, RefusedError | NodeError) else None
        refused = isinstance(cause, RefusedError)
        self.turn_at = cause.turn_at if isinstance(cause, RefusedError) else None
        if code in FINAL or isinstance(cause, UsageError) or (refused and retry_after is None):
            return str(error)
        if code == "no_node" and self._failed:
            wait = 0.0  # There is no other node, so ask for the nodes that failed, too.
        else:
            self._trouble = f": {error}"
            longest = BRIEF if isinstance(error, DialError) else LONGEST
            wait = self._backoff.next(longest) if retry_after is None else self._backoff.told(retry_after)
        if isinstance(error, DialError):
            self._failed.append(error.node)
        elif refused:
            self._failed = []
        self._at = now + wait
        return None
