"""What was posted in a room and is not logged yet: bounded, and first come, first served.

This module is pure but for the events that end a wait; the room's mutex guards its instances. It must never let a post
overtake one that waits for place.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from msgspec import Struct

from parlour.node.log import Post
from parlour.node.rooms.member import Member

__all__ = ["PostQueue", "Submission", "Waiter"]

BATCH = 256 * 1024
"""Bytes of posts after which a batch takes no more: what is kept of it for a slow client must stay small."""


class Submission(Struct, frozen=True, gc=False):
    """Posts of one member on their way to the log, which came together; `size` is that of their frames, in bytes.

    `settled` is set when they are logged and delivered, or refused.
    """

    member: Member[Any]
    posts: list[Post]
    size: int
    arrived: float
    settled: threading.Event | None = None


class Waiter:
    """A submission that waits for place; `come` is set when it got it."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.come = threading.Event()


class PostQueue:
    """The posts of one room, at most `most` and those of one submission more; its length is their number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._submissions: deque[Submission] = deque()
        self._posts = 0
        # Where all waiters raced for each place that came free, one in a thousand had none for ten seconds.
        self._waiting: deque[Waiter] = deque()

    def __len__(self) -> int:
        return self._posts

    def put(self, submission: Submission) -> Waiter | None:
        """Take the posts in; where there is no place, return what their thread is to wait for."""
        if self._posts < self._most:
            self._add(submission)
            return None
        turn = Waiter(submission)
        self._waiting.append(turn)
        return turn

    def give_up(self, turn: Waiter) -> bool:
        """Wait for place no longer; return False if it has come meanwhile."""
        if turn.come.is_set():
            return False
        self._waiting.remove(turn)
        return True

    def take(self, most: int) -> list[Submission]:
        """Take out the next batch, which ends when it has `most` posts or is long, and let in who waits, in turn."""
        taken: list[Submission] = []
        count = size = 0
        while self._submissions and count < most and size < BATCH:
            submission = self._submissions.popleft()
            taken.append(submission)
            count += len(submission.posts)
            size += submission.size
        self._posts -= count
        while self._waiting and self._posts < self._most:
            turn = self._waiting.popleft()
            self._add(turn.submission)
            turn.come.set()
        return taken

    def _add(self, submission: Submission) -> None:
        self._submissions.append(submission)
        self._posts += len(submission.posts)
