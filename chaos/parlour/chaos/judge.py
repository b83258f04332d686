"""What was said in a room, what its log holds and what each member saw: lost, doubled, out of order or divergent.

This module owns the rules by which a room is judged. It is pure: it is called once all is over, and all it needs is
given to it. It must never forgive a fault because another one explains it. (`parlour.client.verdict` judges another
case: one sender after the other, each waiting for its acknowledgement, before observers, with strangers in the room.
Here many speak at once, so that only the log knows the order, and it is itself on trial.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

__all__ = ["FAULTS", "Line", "RoomVerdict", "Said", "judge", "total"]


class Line(NamedTuple):
    """A message, as the log holds it or a member saw it."""

    offset: int
    id: str
    by: str
    at: int
    """When its sender's node took it in, in milliseconds since the Unix epoch."""
    text: str


class Said(NamedTuple):
    """A post, as its sender knows it. Every text is said once."""

    by: str
    text: str
    id: str | None = None
    """None if it was not acknowledged, as is `offset`."""
    offset: int | None = None


@dataclass(frozen=True)
class RoomVerdict:
    """How it went in one room; what is counted for members is the sum over all of them."""

    room: str
    members: int
    said: int
    acknowledged: int
    logged: int
    heard: int
    lost: int
    """Messages of the log that a member never saw."""
    duplicated: int
    """Messages that a member saw again, and posts that the log holds again, under whatever id."""
    reordered: int
    """Messages that a member saw after one of a higher offset."""
    divergent: int
    """Messages that a member saw otherwise than the log holds them, or the log otherwise than they were said."""
    holes: int
    """Offsets that a member had not seen when it saw a higher one, and those that the log leaves out."""
    unlogged: int
    """Posts that were acknowledged and are not in the log where they were acknowledged to be."""
    unanswered: int
    """Posts that were not acknowledged within their deadline."""
    overtaken: int
    """Posts logged before an earlier one of their sender. No fault: what a failing log refused comes later."""

    @property
    def faults(self) -> dict[str, int]:
        """What must be 0."""
        return {name: getattr(self, name) for name in FAULTS}


FAULTS = ("lost", "duplicated", "reordered", "divergent", "holes", "unlogged", "unanswered")
"""The faults that are counted."""


def judge(room: str, said: Sequence[Said], log: Sequence[Line], heard: Mapping[str, Sequence[Line]]) -> RoomVerdict:
    """Judge a room that was empty before, from the posts of each sender in order, the log, and what members saw.

    The members, by name, were in the room from before the first post until the end.
    """
    faults = _of_log(said, log)
    for lines in heard.values():
        faults += _of_member(log, lines)
    return RoomVerdict(
        room=room,
        members=len(heard),
        said=len(said),
        acknowledged=sum(post.id is not None for post in said),
        logged=len(log),
        heard=sum(map(len, heard.values())),
        overtaken=faults["overtaken"],
        **{name: faults[name] for name in FAULTS},
    )


def _of_log(said: Sequence[Said], log: Sequence[Line]) -> Counter[str]:
    faults: Counter[str] = Counter()
    places = {line.offset: line for line in log}
    ids, texts = {line.id for line in log}, {(line.by, line.text): line.offset for line in log}
    faults["duplicated"] = max(len(log) - len(ids), len(log) - len(texts))
    faults["holes"] = max(places, default=0) - len(places)
    words = {(post.by, post.text) for post in said}
    faults["divergent"] = sum((line.by, line.text) not in words for line in log)
    last: dict[str, int] = {}
    for post in said:
        if post.offset is None:
            faults["unanswered"] += 1
        elif post.offset not in places or places[post.offset].id != post.id:
            faults["unlogged"] += 1
        offset = texts.get((post.by, post.text))
        if offset is not None:
            faults["overtaken"] += offset < last.get(post.by, 0)
            last[post.by] = max(offset, last.get(post.by, 0))
    return faults


def _of_member(log: Sequence[Line], lines: Sequence[Line]) -> Counter[str]:
    faults: Counter[str] = Counter()
    places = {line.offset: line for line in log}
    offsets: set[int] = set()
    ids: set[str] = set()
    top = 0
    for line in lines:
        faults["divergent"] += places.get(line.offset) != line
        if line.offset in offsets or line.id in ids:
            faults["duplicated"] += 1
        else:
            faults["reordered"] += line.offset < top
            faults["holes"] += max(0, line.offset - top - 1)
        offsets.add(line.offset)
        ids.add(line.id)
        top = max(top, line.offset)
    faults["lost"] = len({line.id for line in log} - ids)
    return faults


def total(rooms: Sequence[RoomVerdict]) -> RoomVerdict:
    """Return the sums over all rooms."""
    counts = [field.name for field in fields(RoomVerdict) if field.name != "room"]
    return RoomVerdict(room="all", **{name: sum(getattr(room, name) for room in rooms) for name in counts})
