"""The folded view of a room: each text with its edits, its deletion and the reactions to it.

This module owns the rules of folding, as docs/protocol.md tells them to programs. It is pure. It must never use the
library's folding, which is on trial.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from parlour.chaos.records import Record
from parlour.wire.records import EDIT, GONE, REACT, REDACT, UTTERANCES

__all__ = ["DELETED", "Shown", "deleted", "fold"]


@dataclass
class Shown:
    """How a program shows one record."""

    text: str
    edited: bool = False
    reactions: set[tuple[str, str]] = field(default_factory=set)
    """The pairs of a name and its reaction."""


DELETED = Shown("")
"""How a program shows a deleted record of any kind."""


def deleted(records: Iterable[Record]) -> set[int]:
    """Return the offsets of the deleted records among the records of a room, which are given in order."""
    found: set[int] = set()
    edits: dict[int, list[int]] = {}
    for record in records:
        if record.kind == GONE:
            found.add(record.offset)
        elif record.kind == EDIT:
            edits.setdefault(record.ref, []).append(record.offset)
        elif record.kind == REDACT:
            found.update((record.ref, *edits.get(record.ref, ())))
    return found


def fold(records: Collection[Record]) -> dict[int, Shown]:
    """Return how the records of a room, which are given in order, are shown: texts and deleted records, by offset."""
    gone = deleted(records)
    view: dict[int, Shown] = {}
    for record in records:
        about = view.get(record.ref)
        if record.offset in gone:
            view[record.offset] = DELETED
        elif record.kind in UTTERANCES:
            view[record.offset] = Shown(record.text)
        elif about is not None and about is not DELETED:
            if record.kind == EDIT:
                about.text, about.edited = record.text, True
            elif record.kind == REACT:
                about.reactions.add((record.by, record.text))
    return view
