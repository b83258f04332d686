"""Pages of old messages, which a client asks for and the node reads from the log.

This module owns the making of a page; the asking client's thread runs it. It must never return a page with a hole,
nor encode messages that do not fit into the page.
"""

from __future__ import annotations

from parlour.node.log import RoomLog
from parlour.wire.codec import encode, frame, most_bytes
from parlour.wire.limits import MAX_FRAME
from parlour.wire.messages import History, Message, Page

__all__ = ["PAGE", "read_page"]

PAGE = 200
"""Messages in a page, at most."""

FIRST = 32
"""Messages in the first read: if they are long, no more of them fit into a page."""

# Bytes that a page has besides its messages and the fields of an empty page: the length of the list.
_LIST = 4


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
