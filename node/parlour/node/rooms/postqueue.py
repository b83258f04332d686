"""The queue of posts in a room that are not logged yet: bounded, first come, first served.

This module is pure but for the events that end a wait; the room's mutex guards its instances. It must never let a post
overtake one that waits for a free place.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from msgspec import Struct

from parlour.node.log import Post
from parlour.node.rooms.member import Member

__all__ = ["PostQueue", "Submission", "Waiter"]

MAX_BATCH_BYTES = 256 * 1024
"""Bytes of posts that end a batch: the rest of it that a writer keeps for a slow client must stay small."""


class Submission(Struct, frozen=True, gc=False):
    """Posts of one member that came together. `size` is the size of their frames, in bytes.

    `settled` is set when the posts are logged and delivered, or refused.
    """

    member: Member[Any]
    posts: list[Post]
    size: int
    arrived: float
    settled: threading.Event | None = None


class Waiter:
    """A submission that waits for a free place; `admitted` is set when the queue takes it in."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.admitted = threading.Event()


class PostQueue:
    """The posts of one room: at most `most`, plus those of one more submission; its length is their number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._submissions: deque[Submission] = deque()
        self._posts = 0
        # Waiters are served in turn. When they raced for each free place, one in a thousand got none for ten seconds.
        self._waiting: deque[Waiter] = deque()

    def __len__(self) -> int:
        return self._posts

    def put(self, submission: Submission) -> Waiter | None:
        """Take the posts in; if the queue is full, return the waiter that their thread waits for."""
        if self._posts < self._most:
            self._add(submission)
            return None
        waiter = Waiter(submission)
        self._waiting.append(waiter)
        return waiter

    def give_up(self, waiter: Waiter) -> bool:
        """Remove a waiter; return False if the queue has taken its posts in meanwhile."""
        if waiter.admitted.is_set():
            return False
        self._waiting.remove(waiter)
        return True

    def take(self, most: int) -> list[Submission]:
        """Take out the next batch, and admit waiters in turn. A batch ends at `most` posts or `MAX_BATCH_BYTES`."""
        taken: list[Submission] = []
        count = size = 0
        while self._submissions and count < most and size < MAX_BATCH_BYTES:
            submission = self._submissions.popleft()
            taken.append(submission)
            count += len(submission.posts)
            size += submission.size
        self._posts -= count
        while self._waiting and self._posts < self._most:
            waiter = self._waiting.popleft()
            self._add(waiter.submission)
            waiter.admitted.set()
        return taken

    def _add(self, submission: Submission) -> None:
        self._submissions.append(submission)
        self._posts += len(submission.posts)
