"""The decision whether the combiner waits a moment for more posts before it makes a batch.

This module owns the measure of how fast posts come in a room. The room's mutex guards its instances; the combiner waits
here without the mutex. It must never make a post wait in a room where posts come singly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sized

__all__ = ["BatchSizer"]

BURST = 0.002
"""Seconds after a batch in which the same number of posts is expected again: its senders see it, and answer."""

PAUSE = 1e-6
"""Seconds of one wait for expected posts, repeated as long as more come: the system rounds it up to 70 µs."""


class BatchSizer:
    """Estimates a room's next batch from its last one.

    Each batch costs a transaction and a send to every member, whatever its size. When ten members answered each other
    as fast as they could, to wait for all of them doubled the batches, and halved a message's cost in a room of 1000.
    """

    def __init__(self) -> None:
        self._delivered = 0
        self._delivered_at = 0.0

    def delivered(self, posts: int) -> None:
        """Note that this many posts were delivered just now."""
        self._delivered, self._delivered_at = posts, time.monotonic()

    def gather(self, mutex: threading.Lock, queue: Sized) -> None:
        """Wait until the expected posts are in the queue, but no longer than more posts keep coming."""
        with mutex:
            before, waiting = 0, len(queue)
            expected = self._delivered if time.monotonic() - self._delivered_at < BURST else 0
        while before < waiting < expected:
            time.sleep(PAUSE)
            with mutex:
                before, waiting = waiting, len(queue)
