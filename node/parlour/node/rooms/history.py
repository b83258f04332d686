"""Old messages for who asks for them, a page at a time, from the log.

This module owns a page, and how many questions a client may have open; the thread of the client who asks runs it. It
must never return a page with a hole, nor encode what does not fit.
"""

from __future__ import annotations

import time

from parlour.node.log import RoomLog
from parlour.wire.codec import encode, frame, most_bytes
from parlour.wire.limits import MAX_FRAME, MAX_QUESTIONS
from parlour.wire.messages import History, Message, Page

__all__ = ["PAGE", "PAUSE", "Questions", "read_page"]

PAGE = 200
"""Messages in a page at most."""

FIRST = 32
"""Messages read at first: of long ones no more fit into a page."""

PAUSE = 1.0
"""Seconds for which a client that asked more is answered no question."""

PATIENCE = 256
"""Questions refused in a row after which a client is held for one that does not read the answers."""

# Beyond the messages, besides what an empty page has: the list's own length.
_LIST = 4


class Questions:
    """How many pages one client has asked for, between two looks at what it sends."""

    def __init__(self) -> None:
        self._open = 0
        self._refused = 0
        self._again_at = 0.0

    def read(self) -> None:
        """What was asked before is answered: what comes now was sent since, or without waiting for the answers."""
        self._open = 0

    def ask(self) -> bool:
        """Count a question; return whether it is to be answered."""
        self._open += 1
        now = time.monotonic()
        if now >= self._again_at and self._open <= MAX_QUESTIONS:
            self._refused = 0
            return True
        if now >= self._again_at:
            self._again_at = now + PAUSE
        self._refused += 1
        return False

    @property
    def hopeless(self) -> bool:
        """Whether the client goes on asking however often it is refused."""
        return self._refused > PATIENCE


def read_page(log: RoomLog, asked: History) -> bytes:
    """Return the frame that answers, with as many messages as go into one; raises LogError."""
    epoch, trimmed, top = log.extent(asked.room)
    last = min(asked.before - 1, top)
    start = max(trimmed, last - min(asked.limit, PAGE))
    place = MAX_FRAME - _LIST - len(encode(Page(asked.room, epoch, asked.before, last, trimmed, [])))
    found: list[Message] = []  # what is nearer to the reader counts more, so the latest are read first
    end = last
    for step in (FIRST, PAGE):
        begin = max(start, end - step)
        part = log.read(asked.room, begin, end - begin) if begin < end else []
        if not part or part[-1].offset != end:
            break
        first = len(part)
        while first and (size := most_bytes(part[first - 1])) <= place:
            place -= size
            first -= 1
        found[:0] = part[first:]
        if first or part[0].offset != begin + 1:
            break
        end = begin
    after = found[0].offset - 1 if found else last
    return frame(Page(asked.room, epoch, asked.before, after, trimmed, found))
