"""Newcomers: clients that join the rooms of a round when everything is over, and read all that is in the log.

This module owns these clients: those of the library, and one that speaks JSON lines at each node. The round's thread
calls it, and so does the process of people with accounts. It must never give up early on records that are late.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from parlour.chaos.json_client import JsonClient
from parlour.chaos.library_client import record_of
from parlour.chaos.records import Record
from parlour.chaos.requests import Door
from parlour.client.chat import Chat, connect
from parlour.client.events import Changed, Message

__all__ = ["READING", "read_at", "read_log", "read_logs"]

READING = 20.0
"""Seconds without a new record after which a newcomer stops reading."""

ENTERING = 30.0
"""Seconds within which a newcomer must have joined."""

ALL = 2**53 - 1
"""More old records than a room can have."""

ROOMS = 50
"""Rooms that one newcomer joins; a node allows 100."""

LOOK = 0.05
"""Seconds between two readings of records."""


def read_logs(
    brokers: Sequence[str], acknowledged: Mapping[str, int], stop: threading.Event
) -> dict[str, list[Record]]:
    """Return the whole log of each room, as the library replays it; raises as `connect` and `Chat.join` do.

    The reader joins again until the last offset that was `acknowledged` in a room is replayed: its node may not have
    heard of all records yet, and sends the text of a record whose deletion it does not know.
    """
    enter = partial(connect, brokers, "reader", timeout=READING, observer=True)
    return {
        room: [record_of(message) for message in read_log(partial(enter, room=room), room, last, stop)]
        for room, last in acknowledged.items()
    }


def read_log(enter: Callable[[], Chat], room: str, last: int, stop: threading.Event) -> list[Message]:
    """Return the whole log of a room as the library replays it to a chat that enters anew, at least up to `last`."""
    deadline = time.monotonic() + READING
    while True:
        log: list[Message] = []
        with enter() as chat:
            joined = chat.join(room, history=ALL, timeout=READING)
            events = joined.events(READING)
            while len(log) < joined.replays and (event := next(events, None)) is not None:
                if isinstance(event, Message | Changed):
                    log.append(event.record if isinstance(event, Changed) else event)
        if (log[-1].offset if log else 0) >= last or stop.wait(LOOK) or time.monotonic() >= deadline:
            return log


def read_at(address: str, tops: Mapping[str, int], stop: threading.Event) -> dict[str, list[Record]]:
    """Return what a newcomer receives in JSON lines at the node of this address, by room, up to the offsets in `tops`.

    Raises StuckThreadError if it cannot join.
    """
    found: dict[str, list[Record]] = {room: [] for room in tops}
    names = list(tops)
    for first in range(0, len(names), ROOMS):
        rooms = names[first : first + ROOMS]
        # A name of its own: the newcomer before may not be gone for good yet.
        newcomer = JsonClient(f"newcomer-{secrets.token_hex(3)}", rooms, Door.NODE, (), {"": address}, ALL)
        try:
            newcomer.start(ENTERING)
            deadline = time.monotonic() + READING
            while any((found[room][-1].offset if found[room] else 0) < tops[room] for room in rooms):
                for room, record, _ in newcomer.take():
                    found[room].append(record)
                    deadline = time.monotonic() + READING
                if stop.wait(LOOK) or time.monotonic() >= deadline:
                    break
        finally:
            newcomer.stop()
    return found
