"""News for the person of a chat that the application has not taken yet.

This module owns their queue; a reader thread puts, and the application's threads take. It must never grow without end.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from parlour.client.waiting import wait_until
from parlour.runtime.locks import make_lock
from parlour.wire.asks import News

__all__ = ["NewsQueue"]

MOST = 1000
"""News that wait, at most; the oldest are dropped."""


class NewsQueue:
    """The news of one chat."""

    def __init__(self) -> None:
        # Guards all fields below. Rank 28.
        self._changed = threading.Condition(make_lock(28, "news"))
        self._news: deque[News] = deque(maxlen=MOST)
        self._ended = False

    def put(self, news: News) -> None:
        """Add news."""
        with self._changed:
            self._news.append(news)
            self._changed.notify()

    def take(self, timeout: float | None) -> News | None:
        """Return the oldest news, None if none came for `timeout` seconds, or ever if the chat has ended."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        with self._changed:
            wait_until(self._changed, lambda: bool(self._news) or self._ended, deadline)
            return self._news.popleft() if self._news else None

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
