"""The judge: compares what clients posted in a room, what the log holds and what each member saw.

This module owns the rules by which a room is judged. It is pure; the round calls it when everything is over. It must
never forgive a fault because another fault explains it. (`parlour.chaos.verdict` judges another case: the senders of a
replay post one after the other, and observers watch. Here many clients post at once, so only the log knows the order,
and the log itself is on trial.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from parlour.chaos.marks import mark_of
from parlour.chaos.records import Record, SentPost
from parlour.chaos.view import DELETED, Shown, deleted, fold
from parlour.wire.records import EDIT, GONE, REACT

__all__ = ["FAULTS", "Evidence", "RoomVerdict", "judge", "total"]


@dataclass(frozen=True)
class Evidence:
    """The evidence on one room."""

    room: str
    said: Sequence[SentPost]
    """The posts; those of each sender are in its order."""
    log: Sequence[Record]
    """The log at the end; it was empty before the round."""
    seen: Mapping[str, Sequence[Record]]
    """What each member saw, by name. All members joined before the first post, and stayed until the end."""
    newcomers: Mapping[str, Sequence[Record]]
    """What newcomers received at the end, by a name for each newcomer."""
    shown: Mapping[str, Mapping[int, Shown]]
    """How the library shows the last records of the room, by member and by offset."""
    stored: Collection[str]
    """The marks of the texts in the files of the log at the end; empty if the round does not own these files."""


@dataclass(frozen=True)
class RoomVerdict:
    """The verdict on one room. What is counted for members is the sum over all members."""

    room: str
    members: int
    said: int
    acknowledged: int
    logged: int
    heard: int
    lost: int
    """Records of the log that a member never saw."""
    duplicated: int
    """Records that a member saw twice, and posts that the log holds twice, under any id."""
    reordered: int
    """Records that a member saw after one of a higher offset."""
    divergent: int
    """Records that a member saw differently from the log, and records that differ from what was posted."""
    holes: int
    """Offsets that a member had not seen when it saw a higher one, and offsets that are missing in the log."""
    unlogged: int
    """Acknowledged posts that are not in the log at the acknowledged offset."""
    unanswered: int
    """Posts that were not acknowledged in time, or were refused without a reason."""
    undeleted: int
    """Deleted texts that are still in the log, in its files or in what a newcomer received."""
    misfolded: int
    """Records that a member sees differently from the log after edits, deletions and reactions are applied."""
    examples: tuple[str, ...]
    """The first fault of each kind in the log and at each member, in words."""
    overtaken: int
    """Posts logged before an earlier post of the same sender. No fault: posts that the log refused come later."""
    refused: int
    """Edits and reactions that were refused because the record was already deleted. No fault."""
    deleted: int
    """Deleted records in the log. No fault."""

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0."""
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
"""The kinds of faults."""


class _Findings:
    """The faults found in one place: in the log, or at one client."""

    def __init__(self, where: str) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self._where = where

    def add(self, name: str, what: object, count: int = 1) -> None:
        """Count a fault, and keep the first of its kind as an example; do nothing if `count` is 0."""
        if count and not self.counts[name]:
            self.examples.append(f"{name}, {self._where}: {what}")
        self.counts[name] += count


class _Log:
    """The log of a room, its folded view, and the original records of what is deleted, as their senders know them."""

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
        """Return the records as they were posted, as far as their senders know that."""
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


def _words(each: Record | SentPost) -> tuple[str, str, str, int]:
    """Return the fields that identify a post in the log."""
    return each.by, each.text, each.kind, each.ref


def _in_log(evidence: Evidence, log: _Log) -> _Findings:
    """Look for posts that were logged twice, not at all, or differently."""
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
            # This is no fault, so it gets no example.
            found.counts["overtaken"] += offset < last.get(post.by, 0)
            last[post.by] = max(offset, last.get(post.by, 0))
    return found


def _is_gone(log: _Log, offset: int) -> bool:
    return offset in log.places and log.places[offset].kind == GONE


def _in_changes(evidence: Evidence, log: _Log) -> _Findings:
    """Look for deleted texts that are still there, and for texts that are gone though nobody deleted them."""
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
    """Look at what one client saw; it may have seen these originals before they were deleted."""
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
    """Look at how the library shows the last records; it may leave out deleted ones."""
    found = _Findings(who)
    for offset, right in log.view.items():
        if offset >= min(view, default=0) and view.get(offset) != right and (offset in view or right is not DELETED):
            found.add("misfolded", f"the library shows {offset} as {view.get(offset)}, by the log it is {right}")
    return found


def total(rooms: Sequence[RoomVerdict]) -> RoomVerdict:
    """Return the sums over all rooms, with all examples."""
    counts = ("members", "said", "acknowledged", "logged", "heard", "overtaken", "refused", "deleted", *FAULTS)
    return RoomVerdict(
        room="all",
        examples=tuple(example for room in rooms for example in room.examples),
        **{name: sum(getattr(room, name) for room in rooms) for name in counts},
    )
