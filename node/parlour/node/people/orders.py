"""The orders of operators that this node follows: it finds them in the directory and answers there.

This module owns the thread that looks for orders. It must never follow an order twice, nor one that was given before
the node started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parlour.directory.directory import Directory
from parlour.directory.orders import Order
from parlour.node.people.lookout import Lookout

__all__ = ["Follower", "OrderWatch"]

LOOK = 1.0
"""Seconds between two looks for orders."""

Follower = Callable[[dict[str, Any]], dict[str, Any]]
"""Follows an order with these data, without waiting for anything, and returns the data of the answer."""


class OrderWatch(Lookout):
    """The thread that looks for orders of operators, and follows them at one instance of a node."""

    def __init__(self, name: str, directory: Directory, instance: str, followers: Mapping[str, Follower]) -> None:
        """Name the thread `name`; `followers` has a function for each word that an order may have."""
        super().__init__(name, LOOK)
        self._directory = directory
        self._instance = instance
        self._followers = followers
        # For the thread alone:
        self._followed: dict[str, Order] = {}  # the orders that last, by id
        self._unanswered: list[tuple[Order, dict[str, Any]]] = []

    def start(self) -> None:
        """Begin to look, for orders that are given from now on; raises DirectoryError."""
        self._followed = {order.id: order for order in self._directory.orders.lasting()}
        self._unanswered = [(order, {}) for order in self._followed.values()]  # somebody may wait for this node
        super().start()

    def look(self) -> None:
        """Follow the orders that are new, and write the answers; raises DirectoryError."""
        lasting = {order.id: order for order in self._directory.orders.lasting()}
        for order in lasting.values():
            if order.id not in self._followed:
                follow = self._followers.get(order.what)
                # An order of a later version is answered, too: nobody need wait for this node.
                self._unanswered.append((order, follow(order.data) if follow is not None else {}))
        self._followed = lasting
        while self._unanswered:
            order, found = self._unanswered[0]
            self._directory.orders.answer(order, self._instance, found)
            self._unanswered.pop(0)
