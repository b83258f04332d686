"""How thick posts come in a room, and so whether a batch is worth a moment's wait.

The room's mutex guards its instances; the combiner waits here, without it. It must never make a post wait in a room
where posts come singly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sized

__all__ = ["BatchSizer"]

THICK = 0.002
"""Seconds after a batch in which as many posts are expected again: those who said it see it, and answer."""

MOMENT = 1e-6
"""Seconds to wait for more of the expected, again and again as long as more come: the system makes 70 µs of it."""


class BatchSizer:
    """What the last batch of a room tells of the next.

    A batch costs a transaction and a send to every member, whatever its size. Where ten members answer each other as
    fast as they can, waiting for all of them made batches twice as large, and a message in a room of 1000 half as dear.
    """

    def __init__(self) -> None:
        self._carried = 0
        self._by = 0.0

    def carried(self, posts: int) -> None:
        """So many posts were delivered just now."""
        self._carried, self._by = posts, time.monotonic()

    def gather(self, mutex: threading.Lock, queue: Sized) -> None:
        """Where posts came thick a moment ago, let those that must be on their way come into the same batch."""
        with mutex:
            before, waiting = 0, len(queue)
            expected = self._carried if time.monotonic() - self._by < THICK else 0
        while before < waiting < expected:
            time.sleep(MOMENT)
            with mutex:
                before, waiting = waiting, len(queue)
