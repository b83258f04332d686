"""Old messages for who asks for them, a page at a time, from the log.

This module is a function that the thread of the client who asks runs. It must never return a page with a hole.
"""

from __future__ import annotations

from parlour.node.log import RoomLog
from parlour.wire.codec import frame
from parlour.wire.errors import UsageError
from parlour.wire.messages import History, Page

__all__ = ["PAGE", "read_page"]

PAGE = 200
"""Messages in a page at most."""


def read_page(log: RoomLog, asked: History) -> bytes:
    """Return the frame that answers, with as many messages as go into one; raises LogError."""
    epoch, trimmed, top = log.extent(asked.room)
    last = min(asked.before - 1, top)
    after = max(trimmed, last - min(asked.limit, PAGE))
    messages = log.read(asked.room, after, last - after) if after < last else []
    while True:
        after = messages[0].offset - 1 if messages else last
        try:
            return frame(Page(asked.room, epoch, asked.before, after, trimmed, messages))
        except UsageError:  # too long for a frame: what is nearer to the reader counts more
            messages = messages[(len(messages) + 1) // 2 :]
