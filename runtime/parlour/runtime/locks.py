"""Locks with a rank: a thread that holds one may take only locks of higher rank, so that no deadlock can form.

This module makes every lock of parlour. With PARLOUR_DEBUG_LOCKS=1 in the environment, as in the tests, a lock checks
the rule at each acquisition; otherwise it is a plain `threading.Lock` and costs nothing more.
"""

from __future__ import annotations

import os
import threading
from typing import cast

__all__ = ["LockOrderError", "RankedLock", "held_ranks", "make_lock"]

_DEBUG = os.environ.get("PARLOUR_DEBUG_LOCKS") == "1"

_held = threading.local()


class LockOrderError(AssertionError):
    """A lock was taken out of order: a bug in parlour, found by the debug locks."""


def _stack() -> list[RankedLock]:
    try:
        return cast("list[RankedLock]", _held.stack)
    except AttributeError:
        _held.stack = []
        return cast("list[RankedLock]", _held.stack)


def held_ranks() -> list[int]:
    """Return the ranks of the debug locks that this thread holds, in the order in which it took them."""
    return [lock.rank for lock in _stack()]


class RankedLock:
    """A mutex that raises LockOrderError if the thread already holds one of the same or a higher rank."""

    def __init__(self, rank: int, name: str) -> None:
        self.rank = rank
        self.name = name
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock like `threading.Lock.acquire`; an attempt that does not block is not checked."""
        stack = _stack()
        # The last lock taken may not have the highest rank: an attempt that does not block can take a lower one later.
        if blocking and stack and (highest := max(stack, key=lambda lock: lock.rank)).rank >= self.rank:
            raise LockOrderError(
                f"{self.name} (rank {self.rank}) taken while {highest.name} (rank {highest.rank}) is held"
            )
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            stack.append(self)
        return taken

    def release(self) -> None:
        """Release the lock; raises RuntimeError if this thread does not hold it."""
        stack = _stack()
        if self not in stack:
            raise RuntimeError(f"{self.name} released by a thread that does not hold it")
        stack.remove(self)
        self._lock.release()

    def locked(self) -> bool:
        """Whether any thread holds it."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def make_lock(rank: int, name: str) -> threading.Lock:
    """Return a mutex of this rank (higher ranks are taken later); error messages name it."""
    if _DEBUG:
        return cast("threading.Lock", RankedLock(rank, name))
    return threading.Lock()
