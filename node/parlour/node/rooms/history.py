"""Pages of old messages, which a client asks for and the node reads from the log.

This module owns the making of a page, and the limit of open questions per client; the asking client's thread runs it.
It must never return a page with a hole, nor encode messages that do not fit into the page.
"""

from __future__ import annotations

import time

from parlour.node.log import RoomLog
from parlour.wire.codec import encode, frame, most_bytes
from parlour.wire.limits import MAX_FRAME, MAX_QUESTIONS
from parlour.wire.messages import History, Message, Page

__all__ = ["PAGE", "PAUSE", "QuestionLimit", "read_page"]

PAGE = 200
"""Messages in a page, at most."""

FIRST = 32
"""Messages in the first read: if they are long, no more of them fit into a page."""

PAUSE = 1.0
"""Seconds without answers for a client that has too many questions open."""

MAX_REFUSALS = 256
"""Questions refused in a row, after which the node assumes that the client does not read the answers."""

# Bytes that a page has besides its messages and the fields of an empty page: the length of the list.
_LIST = 4


class QuestionLimit:
    """The limit of questions for pages that one client may have open."""

    def __init__(self) -> None:
        self._open = 0
        self._refused = 0
        self._again_at = 0.0

    def restart(self) -> None:
        """Count from zero: all earlier questions are answered, and the node reads the next ones from the client now."""
        self._open = 0

    def allow(self) -> bool:
        """Count a question; return whether the node answers it."""
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
    def exceeded(self) -> bool:
        """Whether the client goes on asking although the node refuses each question."""
        return self._refused > MAX_REFUSALS


def read_page(log: RoomLog, asked: History) -> bytes:
    """Return the frame that answers the question, with as many messages as fit into it; raises LogError."""
    epoch, trimmed, top = log.extent(asked.room)
    last = min(asked.before - 1, top)
    start = max(trimmed, last - min(asked.limit, PAGE))
    place = MAX_FRAME - _LIST - len(encode(Page(asked.room, epoch, asked.before, last, trimmed, [])))
    found: list[Message] = []  # the latest are read first: they matter more to the reader
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
