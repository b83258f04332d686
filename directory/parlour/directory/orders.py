"""Orders of operators to all nodes: each node finds them in the directory, follows them, and writes its answer there.

This module owns the orders and their answers; any thread may call it. It must never wait for a node without a deadline,
nor reach anybody without an entry in the trail.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from typing import Any, NamedTuple

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.names import Names
from parlour.directory.store import Store
from parlour.directory.trail import Trail
from parlour.wire.errors import UsageError

__all__ = ["Order", "Orders", "Outcome", "check_line"]

WAIT = 10.0
"""Seconds to wait for the answers of the nodes: each looks for orders every second."""

LASTING = 30.0
"""Seconds after which an order and its answers are forgotten: a node may be late."""

MOST = 100
"""Orders that last at the same time, at most: each node reads all of them at each look."""

LONGEST = 1000
"""Characters of an announcement or a reason, at most."""

_POLL = 0.05
"""Seconds between two looks for answers."""

_ALL = "all"
"""The name of the document that has all orders."""

# Control characters, surrogates, and separators of lines and paragraphs.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_line(text: str) -> str:
    """Return what people are told, without white space around it; raises UsageError if it is not one line."""
    text = text.strip()
    if len(text) > LONGEST:
        raise UsageError(f"it has at most {LONGEST} characters, this one has {len(text)}")
    if any(unicodedata.category(character) in _REFUSED for character in text):
        raise UsageError(f"it is one line without control characters, not {text[:80]!r}")
    return text


class Order(Struct, frozen=True):
    """An order: what to do ("kick", "announce" or "rooms"), with what, and when it was given (ms since the epoch)."""

    id: str
    what: str
    data: dict[str, Any]
    made: int


class Outcome(NamedTuple):
    """The answers of the nodes that have followed an order, and the number of nodes that have not answered in time."""

    answers: list[dict[str, Any]]
    missing: int


class _Orders(Struct, frozen=True):
    orders: tuple[Order, ...]


class _Answer(Struct, frozen=True):
    data: dict[str, Any]


class Orders:
    """The orders. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store, names: Names, trail: Trail) -> None:
        self._store = store
        self._names = names
        self._trail = trail
        self._orders = Documents(store, "order/", _Orders)
        self._answers = Documents(store, "answer/", _Answer)

    # --- for operators ------------------------------------------------------------------------------------------

    def kick(self, by: str, who: str, reason: str) -> tuple[int, int]:
        """End the connections of an account or guest; return their number, and that of nodes without an answer.

        The trail names the operator `by`.
        """
        outcome = self._give("kick", {"who": who, "reason": reason})
        connections = sum(answer.get("connections", 0) for answer in outcome.answers)
        if connections or outcome.missing:
            self._trail.add("kicked", by, {"who": who, "reason": reason, "connections": connections})
        return connections, outcome.missing

    def announce(self, by: str, text: str, shown: str = "") -> int:
        """Tell everybody who is connected, in the name `shown`; return the number of nodes without an answer.

        Without that name it comes from an operator. The trail names the operator `by`.
        """
        missing = self._give("announce", {"by": shown, "text": text}).missing
        self._trail.add("announced", by, {"text": text})
        return missing

    def rooms(self) -> tuple[list[dict[str, int]], int]:
        """Return, for each node, the number of people in each of its rooms; and the number of nodes without an answer.

        Private conversations are left out.
        """
        outcome = self._give("rooms", {})
        return [answer.get("rooms", {}) for answer in outcome.answers], outcome.missing

    def _give(self, what: str, data: dict[str, Any]) -> Outcome:
        """Give an order to all nodes and wait for their answers; raises UsageError if there are too many orders."""
        now = self._store.now()
        order = Order(secrets.token_hex(8), what, data, now)

        def add(old: _Orders | None) -> _Orders:
            lasting = _lasting(old, now)
            if len(lasting) >= MOST:
                raise UsageError(f"{MOST} orders were given in the last {LASTING:g} s: wait for a while")
            return _Orders((*lasting, order))

        self._orders.change(_ALL, add, self._ends(now))
        waiting = self._names.instances()  # those that start later have no clients yet
        answers: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT
        while True:
            for instance in list(waiting):
                answer = self._answers.get(f"{order.id}/{instance}")
                if answer is not None:
                    answers.append(answer.data)
                    waiting.remove(instance)
            if not waiting or time.monotonic() >= deadline:
                return Outcome(answers, len(waiting))
            time.sleep(_POLL)

    # --- for nodes ----------------------------------------------------------------------------------------------

    def lasting(self) -> list[Order]:
        """Return the orders that have not ended, in the order in which they were given."""
        return list(_lasting(self._orders.get(_ALL), self._store.now()))

    def answer(self, order: Order, instance: str, data: dict[str, Any]) -> None:
        """Note that an instance of a node has followed an order, and what it has found."""
        self._answers.change(f"{order.id}/{instance}", lambda _: _Answer(data), self._ends(self._store.now()))

    def _ends(self, now: int) -> int:
        return now + round(LASTING * 1000)


def _lasting(orders: _Orders | None, now: int) -> tuple[Order, ...]:
    ended = now - LASTING * 1000
    return tuple(order for order in orders.orders if order.made > ended) if orders is not None else ()
