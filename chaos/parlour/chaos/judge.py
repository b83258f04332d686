"""What was said in a room, what its log holds and what each member saw: lost, doubled, out of order or divergent.

This module owns the rules by which a room is judged. It is pure: it is called once all is over, and all it needs is
given to it. It must never forgive a fault because another one explains it. (`parlour.chaos.verdict` judges another
case: one sender after the other, each waiting for its acknowledgement, before observers, with strangers in the room.
Here many speak at once, so that only the log knows the order, and it is itself on trial.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from parlour.chaos.marks import mark_of
from parlour.chaos.records import Post, Record
from parlour.chaos.view import DELETED, Shown, deleted, fold
from parlour.wire.records import EDIT, GONE, REACT

__all__ = ["FAULTS", "Evidence", "RoomVerdict", "judge", "total"]


@dataclass(frozen=True)
class Evidence:
    """All that a room is judged by."""

    room: str
    said: Sequence[Post]
    """The posts, of each sender in its order."""
    log: Sequence[Record]
    """The log at the end; the room was empty before."""
    seen: Mapping[str, Sequence[Record]]
    """What each member saw, by name; all were in the room from before the first post until the end."""
    newcomers: Mapping[str, Sequence[Record]]
    """What newcomers were sent at the end, by the words for them."""
    shown: Mapping[str, Mapping[int, Shown]]
    """What the library shows of the last records of the room, by the member that uses it and by offset."""
    stored: Collection[str]
    """The marks of texts in the files of the log at the end; empty if these cannot be looked into."""


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
    """Records of the log that a member never saw."""
    duplicated: int
    """Records that a member saw again, and posts that the log holds again, under whatever id."""
    reordered: int
    """Records that a member saw after one of a higher offset."""
    divergent: int
    """Records that a member saw otherwise than the log holds them, or the log otherwise than they were posted."""
    holes: int
    """Offsets that a member had not seen when it saw a higher one, and those that the log leaves out."""
    unlogged: int
    """Posts that were acknowledged and are not in the log where they were acknowledged to be."""
    unanswered: int
    """Posts that were not acknowledged within their deadline, or refused without a reason."""
    undeleted: int
    """Deleted texts that are still in the log, in its files or in what a newcomer is sent."""
    misfolded: int
    """Records that look otherwise to a member than by the log, once edits, deletions and reactions are applied."""
    examples: tuple[str, ...]
    """The first of each kind of fault, in words, from the log and from each member."""
    overtaken: int
    """Posts logged before an earlier one of their sender. No fault: what a failing log refused comes later."""
    refused: int
    """Edits and reactions that were refused, as what they were about was deleted by then. No fault."""
    deleted: int
    """Records whose text is deleted in the log. No fault."""

    @property
    def faults(self) -> dict[str, int]:
        """What must be 0."""
        return {name: getattr(self, name) for name in FAULTS}


FAULTS = (
    "lost",
    "duplicated",
    "reordered",
    "divergent",
    "holes",
    "unlogged",
    "unanswered",
    "undeleted",
    "misfolded",
)
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


class _Log:
    """The log of a room, and what its records were before they were deleted, as far as their senders know."""

    def __init__(self, evidence: Evidence) -> None:
        self.records = evidence.log
        self.places = {record.offset: record for record in evidence.log}
        self.view = fold(evidence.log)
        self.originals: dict[int, Record] = {}
        for post in evidence.said:
            gone = self.places.get(post.offset or 0)
            if gone is not None and gone.kind == GONE and gone.id == post.id:
                self.originals[gone.offset] = gone._replace(text=post.text, kind=post.kind, ref=post.ref)

    def whole(self) -> list[Record]:
        """Return the records as they were before any was deleted, as far as that is known."""
        return [self.originals.get(record.offset, record) for record in self.records]


def judge(evidence: Evidence) -> RoomVerdict:
    """Judge a room."""
    log = _Log(evidence)
    findings = [_in_log(evidence, log), _in_changes(evidence, log)]
    for name, records in evidence.seen.items():
        findings.append(_at_client(f"{name} in {evidence.room}", records, log, log.originals))
    for name, records in evidence.newcomers.items():
        findings.append(_at_client(f"{name} in {evidence.room}", records, log, {}))
    for name, view in evidence.shown.items():
        findings.append(_in_library(f"{name} in {evidence.room}", view, log))
    counts = sum((found.counts for found in findings), Counter[str]())
    return RoomVerdict(
        room=evidence.room,
        members=len(evidence.seen),
        said=len(evidence.said),
        acknowledged=sum(post.id is not None for post in evidence.said),
        logged=len(evidence.log),
        heard=sum(map(len, evidence.seen.values())),
        overtaken=counts["overtaken"],
        refused=sum(post.refused for post in evidence.said),
        deleted=sum(record.kind == GONE for record in evidence.log),
        examples=tuple(example for found in findings for example in found.examples),
        **{name: counts[name] for name in FAULTS},
    )


def _words(each: Record | Post) -> tuple[str, str, str, int]:
    """Return by what a post is known again in the log."""
    return each.by, each.text, each.kind, each.ref


def _in_log(evidence: Evidence, log: _Log) -> _Findings:
    """Look for what was logged twice, not at all or otherwise."""
    found = _Findings(f"log of {evidence.room}")
    ids: set[str] = set()
    offsets: dict[tuple[str, str, str, int], int] = {}
    said = {_words(post): post for post in evidence.said}
    top = 0
    for record in log.whole():
        words = _words(record)
        if record.id in ids or words in offsets:
            found.add("duplicated", record)
        if words not in said:
            found.add("divergent", f"{record} was not said")
        elif said[words].refused:
            found.add("divergent", f"{record} was refused")
        found.add("holes", f"before {record}", max(0, record.offset - top - 1))
        ids.add(record.id)
        offsets.setdefault(words, record.offset)
        top = max(top, record.offset)
    last: dict[str, int] = {}
    for post in evidence.said:
        if post.refused:
            if post.kind not in (EDIT, REACT) or not _is_gone(log, post.ref):
                found.add("unanswered", f"{post}, which refers to {log.places.get(post.ref)}")
        elif post.offset is None:
            found.add("unanswered", post)
        elif post.offset not in log.places or log.places[post.offset].id != post.id:
            found.add("unlogged", f"{post}, but there is {log.places.get(post.offset)}")
        offset = offsets.get(_words(post))
        if offset is not None:
            # No fault, and so without an example.
            found.counts["overtaken"] += offset < last.get(post.by, 0)
            last[post.by] = max(offset, last.get(post.by, 0))
    return found


def _is_gone(log: _Log, offset: int) -> bool:
    return offset in log.places and log.places[offset].kind == GONE


def _in_changes(evidence: Evidence, log: _Log) -> _Findings:
    """Look for deleted texts that are still there, and for texts that nobody deleted and that are gone."""
    found = _Findings(f"log of {evidence.room}")
    wanted = deleted(log.whole())
    for record in log.records:
        if record.kind != GONE and record.offset in wanted:
            found.add("undeleted", record)
        if record.kind == GONE and record.offset not in wanted:
            found.add("divergent", f"{record}, but nobody deleted it")
    for original in log.originals.values():
        if mark_of(original.text) in evidence.stored:
            found.add("undeleted", f"{original} is still in the files of the log")
    return found


def _at_client(who: str, records: Sequence[Record], log: _Log, originals: Mapping[int, Record]) -> _Findings:
    """Look at what one client saw; it may have seen the `originals` of what is deleted now."""
    found = _Findings(who)
    offsets: set[int] = set()
    ids: set[str] = set()
    top = 0
    for record in records:
        logged = log.places.get(record.offset)
        if record != logged and record != originals.get(record.offset):
            if record == log.originals.get(record.offset):
                found.add("undeleted", record)
            else:
                found.add("divergent", f"{record}, but the log has {logged}")
        if record.offset in offsets or record.id in ids:
            found.add("duplicated", record)
        else:
            if record.offset < top:
                found.add("reordered", f"{record} after {top}")
            found.add("holes", f"{record} after {top}", max(0, record.offset - top - 1))
        offsets.add(record.offset)
        ids.add(record.id)
        top = max(top, record.offset)
    for record in log.records:
        if record.id not in ids:
            found.add("lost", record)
    for offset, shown in fold(records).items():
        if shown != log.view.get(offset):
            found.add("misfolded", f"{offset} is {shown}, by the log {log.view.get(offset)}")
    return found


def _in_library(who: str, view: Mapping[int, Shown], log: _Log) -> _Findings:
    """Look at what the library shows of the last records; it may leave out what is deleted."""
    found = _Findings(who)
    for offset, right in log.view.items():
        if offset >= min(view, default=0) and view.get(offset) != right and (offset in view or right is not DELETED):
            found.add("misfolded", f"the library shows {offset} as {view.get(offset)}, by the log it is {right}")
    return found


def total(rooms: Sequence[RoomVerdict]) -> RoomVerdict:
    """Return the sums over all rooms, and all their examples."""
    counts = ("members", "said", "acknowledged", "logged", "heard", "overtaken", "refused", "deleted", *FAULTS)
    return RoomVerdict(
        room="all",
        examples=tuple(example for room in rooms for example in room.examples),
        **{name: sum(getattr(room, name) for room in rooms) for name in counts},
    )
