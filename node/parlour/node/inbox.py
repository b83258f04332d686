"""What was posted in a room and is not logged yet: bounded, and first come, first served.

This module is pure but for the events that end a wait; the room's mutex guards its instances. It must never let a post
overtake one that waits for place.
"""

from __future__ import annotations

import threading
from collections import deque

from parlour.node.outlet import Posting

__all__ = ["Inbox", "Turn"]

BATCH = 256 * 1024
"""Bytes of posts after which a batch takes no more: what is kept of it for a slow client must stay small."""


class Turn:
    """Posts that wait for place; `come` is set when they got it."""

    def __init__(self, postings: list[Posting]) -> None:
        self.postings = postings
        self.come = threading.Event()


class Inbox:
    """The posts of one room, at most `most` and those of one submission more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._postings: list[Posting] = []
        # Where all waiters raced for each place that came free, one in a thousand had none for ten seconds.
        self._waiting: deque[Turn] = deque()

    def __len__(self) -> int:
        return len(self._postings)

    def put(self, postings: list[Posting]) -> Turn | None:
        """Take the posts in; where there is no place, return what their thread is to wait for."""
        if len(self._postings) < self._most:
            self._postings += postings
            return None
        turn = Turn(postings)
        self._waiting.append(turn)
        return turn

    def give_up(self, turn: Turn) -> bool:
        """Wait for place no longer; return False if it has come meanwhile."""
        if turn.come.is_set():
            return False
        self._waiting.remove(turn)
        return True

    def take(self, most: int) -> list[Posting]:
        """Take out the next batch, at most so many posts, and let in who waits, in their order."""
        count = size = 0
        for posting in self._postings[:most]:
            count += 1
            size += posting.size
            if size >= BATCH:
                break
        taken, self._postings = self._postings[:count], self._postings[count:]
        while self._waiting and len(self._postings) < self._most:
            turn = self._waiting.popleft()
            self._postings += turn.postings
            turn.come.set()
        return taken
