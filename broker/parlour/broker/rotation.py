"""The nodes that can take a client, kept in the order in which they should.

This module owns the ordered structure that the balancer chooses from. It is pure and belongs to the one thread that
runs its balancer. It must never look at all its nodes to answer a question about the first few.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

__all__ = ["Key", "Rotation"]

Key = tuple[float, int, str]
"""A node's load, the turn at which it was last chosen, and its name: the order in which nodes are chosen."""


class Rotation:
    """Keys in ascending order: the lowest load first, of equal loads the least recently chosen.

    Adding and removing cost a binary search, 14 comparisons at 10,000 nodes, and a move of at most 80 KB of
    pointers, which takes less time than one comparison in Python; so neither grows noticeably with the fleet.
    """

    def __init__(self) -> None:
        self._keys: list[Key] = []

    def add(self, key: Key) -> None:
        """Put the key in its place."""
        insort(self._keys, key)

    def remove(self, key: Key) -> None:
        """Take the key out; raises KeyError if it is not there."""
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(key)
        del self._keys[index]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
