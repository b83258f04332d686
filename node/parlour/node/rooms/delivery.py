"""The delivery of a room's batches and news to its members on this node, variant by variant.

This module owns the making of encodings and their count; the room's combiner delivers, and any thread may have batches
encoded. It must never hold the room's mutex while it sends or encodes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parlour.dialects import Variant
from parlour.node.rooms.batch import Batch
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.member import Member
from parlour.node.rooms.presence import PresenceNews
from parlour.node.rooms.timeline import Timeline

__all__ = ["Delivery"]


class Delivery:
    """The delivery of one room."""

    def __init__(self, context: RoomContext, mutex: threading.Lock, timeline: Timeline) -> None:
        """Count encodings in the timeline, which the mutex guards."""
        self._context = context
        self._mutex = mutex
        self._timeline = timeline

    def deliver(
        self, batches: Sequence[Batch], groups: Mapping[Variant | None, Sequence[Member[Any]]]
    ) -> tuple[int, int]:
        """Send batches that follow each other to the members; return the deliveries and the bytes sent."""
        delivered = sent = 0
        for variant, members in groups.items():
            self.encode(batches, variant)
            reached, size = self._context.deliver(members, variant, batches)
            delivered += reached
            sent += size
        return delivered * (batches[-1].last - batches[0].first + 1), sent

    def tell(self, news: PresenceNews, members: Iterable[Member[Any]]) -> None:
        """Send the members of the room changes among them, and lists to those who asked."""
        if news.changes is not None:
            for member in members:
                member.subscriber.send_presence(member, news.changes)
        for member, names in news.lists.items():
            member.subscriber.answer(names)

    def encode(self, batches: Sequence[Batch], variant: Variant | None) -> None:
        """Make the missing encodings of batches, and count them."""
        if variant is None:
            return
        fresh = [batch for batch in batches if not batch.has(variant)]
        for batch in fresh:
            batch.encoding(variant)
        if fresh:
            self._context.load.encode(len(fresh))
            with self._mutex:
                self._timeline.note(fresh)
