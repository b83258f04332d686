"""What was said in a room, what its log holds and what each member saw: lost, doubled, out of order or divergent.

This module owns the rules by which a room is judged. It is pure: it is called once all is over, and all it needs is
given to it. It must never forgive a fault because another one explains it. (`parlour.chaos.verdict` judges another
case: one sender after the other, each waiting for its acknowledgement, before observers, with strangers in the room.
Here many speak at once, so that only the log knows the order, and it is itself on trial.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parlour.chaos.records import Post, Record

__all__ = ["FAULTS", "RoomVerdict", "judge", "total"]


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
    examples: tuple[str, ...]
    """The first of each kind of fault, in words, from the log and from each member."""
    overtaken: int
    """Posts logged before an earlier one of their sender. No fault: what a failing log refused comes later."""

    @property
    def faults(self) -> dict[str, int]:
        """What must be 0."""
        return {name: getattr(self, name) for name in FAULTS}


FAULTS = ("lost", "duplicated", "reordered", "divergent", "holes", "unlogged", "unanswered")
"""The faults that are counted."""


class _Findings:
    """The faults found by looking at the log, or at what one member saw."""

    def __init__(self, where: str) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self._where = where

    def add(self, name: str, what: object, count: int = 1) -> None:
        """Count a fault, the first of its kind in words too; nothing if `count` is 0."""
        if count and not self.counts[name]:
            self.examples.append(f"{name}, {self._where}: {what}")
        self.counts[name] += count


def judge(room: str, said: Sequence[Post], log: Sequence[Record], heard: Mapping[str, Sequence[Record]]) -> RoomVerdict:
    """Judge a room that was empty before, from the posts of each sender in order, the log, and what members saw.

    The members, by name, were in the room from before the first post until the end.
    """
    findings = [_in_log(room, said, log), *(_at_member(room, name, log, lines) for name, lines in heard.items())]
    counts = sum((found.counts for found in findings), Counter[str]())
    return RoomVerdict(
        room=room,
        members=len(heard),
        said=len(said),
        acknowledged=sum(post.id is not None for post in said),
        logged=len(log),
        heard=sum(map(len, heard.values())),
        overtaken=counts["overtaken"],
        examples=tuple(example for found in findings for example in found.examples),
        **{name: counts[name] for name in FAULTS},
    )


def _in_log(room: str, said: Sequence[Post], log: Sequence[Record]) -> _Findings:
    found = _Findings(f"log of {room}")
    places: dict[int, Record] = {}
    ids: set[str] = set()
    offsets: dict[tuple[str, str], int] = {}
    words = {(post.by, post.text) for post in said}
    top = 0
    for line in log:
        if line.id in ids or (line.by, line.text) in offsets:
            found.add("duplicated", line)
        if (line.by, line.text) not in words:
            found.add("divergent", f"{line} was not said")
        found.add("holes", f"before {line}", max(0, line.offset - top - 1))
        ids.add(line.id)
        places[line.offset] = line
        offsets.setdefault((line.by, line.text), line.offset)
        top = max(top, line.offset)
    last: dict[str, int] = {}
    for post in said:
        if post.offset is None:
            found.add("unanswered", post)
        elif post.offset not in places or places[post.offset].id != post.id:
            found.add("unlogged", f"{post}, but there is {places.get(post.offset)}")
        offset = offsets.get((post.by, post.text))
        if offset is not None:
            # No fault, and so without an example.
            found.counts["overtaken"] += offset < last.get(post.by, 0)
            last[post.by] = max(offset, last.get(post.by, 0))
    return found


def _at_member(room: str, name: str, log: Sequence[Record], lines: Sequence[Record]) -> _Findings:
    found = _Findings(f"{name} in {room}")
    places = {line.offset: line for line in log}
    offsets: set[int] = set()
    ids: set[str] = set()
    top = 0
    for line in lines:
        if places.get(line.offset) != line:
            found.add("divergent", f"{line}, but the log has {places.get(line.offset)}")
        if line.offset in offsets or line.id in ids:
            found.add("duplicated", line)
        else:
            if line.offset < top:
                found.add("reordered", f"{line} after {top}")
            found.add("holes", f"{line} after {top}", max(0, line.offset - top - 1))
        offsets.add(line.offset)
        ids.add(line.id)
        top = max(top, line.offset)
    for line in log:
        if line.id not in ids:
            found.add("lost", line)
    return found


def total(rooms: Sequence[RoomVerdict]) -> RoomVerdict:
    """Return the sums over all rooms, and all their examples."""
    counts = ("members", "said", "acknowledged", "logged", "heard", "overtaken", *FAULTS)
    return RoomVerdict(
        room="all",
        examples=tuple(example for room in rooms for example in room.examples),
        **{name: sum(getattr(room, name) for room in rooms) for name in counts},
    )
