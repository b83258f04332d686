"""Rooms as a judge is given them, made by chance and perfect: what was posted, logged, seen and shown.

This module owns the strategies; they are pure. A scene must never hold a fault: tests put one in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from parlour.chaos.judge import Evidence, RoomVerdict, judge
from parlour.chaos.marks import mark_of, marked
from parlour.chaos.records import Record, SentPost
from parlour.chaos.view import DELETED, Shown, deleted, fold
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT, SAID, UTTERANCES

__all__ = ["Scene", "conversations", "plain_scenes", "scenes", "without_deleted"]

NAMES = ("c1", "c2", "c3")


@dataclass
class Scene:
    """All that a judge is given, to be tampered with."""

    said: list[SentPost]
    log: list[Record]
    heard: dict[str, list[Record]] = field(default_factory=dict)
    newcomers: dict[str, list[Record]] = field(default_factory=dict)
    shown: dict[str, dict[int, Shown]] = field(default_factory=dict)
    stored: set[str | None] = field(default_factory=set)

    def judged(self) -> RoomVerdict:
        """Return the verdict."""
        stored = {mark for mark in self.stored if mark}
        return judge(Evidence("lobby", self.said, self.log, self.heard, self.newcomers, self.shown, stored))

    def named(self) -> set[str]:
        """Return the faults that were found."""
        return {name for name, count in self.judged().faults.items() if count}


def without_deleted(records: Sequence[Record]) -> list[Record]:
    """Return the records as the log has them at the end: of those that are deleted what is left of them."""
    gone = deleted(records)
    return [
        record._replace(text=GONE_TEXT, kind=GONE, ref=0) if record.offset in gone else record for record in records
    ]


@st.composite
def conversations(draw: st.DrawFn) -> list[Record]:
    """Draw records as they were posted, with changes that a node allows; at least one is deleted."""
    records: list[Record] = []

    def add(by: str, kind: str, ref: int, text: str = "") -> None:
        number = 1 + sum(record.by == by for record in records)
        text = text or marked(by, number, ("hello",))
        records.append(Record(len(records) + 1, f"{by}-session-{number}", by, 1000, text, kind, ref))

    for _ in range(draw(st.integers(0, 15))):
        by = draw(st.sampled_from(NAMES))
        kept = [record for record in records if record.offset not in deleted(records)]
        texts = [record for record in kept if record.kind in UTTERANCES]
        mine = [record for record in kept if record.by == by and record.kind != REDACT]
        kind = draw(st.sampled_from([SAID, "reply", EDIT, REDACT, REACT]))
        about = {EDIT: [each for each in mine if each.kind in UTTERANCES], REDACT: mine}.get(kind, texts)
        ref = draw(st.sampled_from(about)).offset if kind != SAID and about else 0
        if kind == REACT and any((each.by, each.kind, each.ref) == (by, kind, ref) for each in records):
            ref = 0
        if kind == "reply" or not ref:
            kind = SAID
        add(by, kind, ref, "👍" if kind == REACT else "")
    add("c1", SAID, 0)
    add("c1", REDACT, len(records))
    return records


def posts_of(records: Sequence[Record]) -> list[SentPost]:
    """Return the acknowledged posts that the records come from."""
    posts = [SentPost(each.by, each.text, each.kind, each.ref, each.id, each.offset) for each in records]
    # What each sender remembers is in its order; how the senders' posts stand to each other, the judge is not told.
    return sorted(posts, key=lambda post: post.by)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a room in which records were changed; each member saw some before they were deleted, and others after."""
    records = draw(conversations())
    log = without_deleted(records)

    def seen() -> list[Record]:
        return [draw(st.sampled_from([before, after])) for before, after in zip(records, log, strict=True)]

    heard = {name: seen() for name in NAMES[: draw(st.integers(1, 3))]}
    view = fold(log)
    first = draw(st.sampled_from(list(view)))
    # The library shows the last records, and may leave out what is deleted.
    shown = {
        offset: each
        for offset, each in view.items()
        if offset == first or (offset > first and (each is not DELETED or draw(st.booleans())))
    }
    stored = {mark_of(record.text) for record in log}
    return Scene(posts_of(records), log, heard, {"a newcomer": list(log)}, {NAMES[0]: shown}, stored)


@st.composite
def plain_scenes(draw: st.DrawFn, least: int = 0) -> Scene:
    """Draw a room of texts alone in which the senders spoke in any interleaving, and all members saw all."""
    counts: dict[str, int] = {}
    log: list[Record] = []
    for offset, by in enumerate(draw(st.lists(st.sampled_from(NAMES), min_size=least, max_size=20)), 1):
        counts[by] = counts.get(by, 0) + 1
        log.append(Record(offset, f"{by}-session-{counts[by]}", by, 1000 + offset, f"{by} {counts[by]}"))
    members = draw(st.integers(1, 4))
    return Scene(posts_of(log), log, {f"m{number}": list(log) for number in range(members)})
