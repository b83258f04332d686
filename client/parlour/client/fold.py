"""The messages of one room as they are now: with their edits, deletions and reactions.

This module owns the rules by which records change earlier ones. It is pure: the room calls it under the room's lock.
Its answers must depend on nothing but the records and their offsets, and its memory must not grow without bound.

The rules (docs/protocol.md, section 5): Plain texts, actions and notices can be edited and reacted to. Only its author
can edit a record: the same session or, if there is one, the same account. Its author can delete it, and so can those
who keep order in the room: a field of the deletion tells. A deleted message loses all its changes; an edit or a
reaction that is deleted is taken back. A record changes nothing if it refers to no earlier record or to a record that
is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from parlour.client.events import Changed, Message
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT, UTTERANCES, is_moderation, session_of_id

__all__ = ["CHANGES", "KEPT", "REDACTION", "Fold"]

KEPT = 1000
"""Number of records of a room that are remembered: a message is known while its record is among them."""

CHANGES = frozenset({EDIT, REDACT, REACT})
"""The kinds of records that change an earlier record; they are not messages themselves."""

REDACTION = "(deleted a message)"
"""The text of the record of a deletion: clients that do not know the kind show it as a line."""


class Fold:
    """The last `kept` records of a room (None: all records), and the messages that they make."""

    def __init__(self, kept: int | None = KEPT) -> None:
        self._kept = kept
        self._records: dict[int, Message] = {}  # by offset, in their order
        self._about: dict[int, list[int]] = {}  # the offsets of the changes to the record at an offset, in their order
        self._now: dict[int, Message] = {}  # messages that differ from their records
        self._paged: dict[int, Message] = {}  # changes that came with pages of history

    def add(self, record: Message) -> Message | Changed:
        """Add the next record, whose offset is the highest so far; return its event: a message, or a change of one."""
        self._records[record.offset] = record
        if self._kept is not None and len(self._records) > self._kept:
            oldest = next(iter(self._records))
            del self._records[oldest]
            self._about.pop(oldest, None)
            self._now.pop(oldest, None)
        if record.kind not in CHANGES:
            return record
        if record.ref in self._records:
            self._about.setdefault(record.ref, []).append(record.offset)
        changed = self._message_of(record)
        if changed is None:
            return Changed(record, None, None)
        before = self._now.get(changed.offset, changed)
        now = self._now[changed.offset] = self._folded(changed)
        return Changed(record, now, before)

    def message(self, offset: int) -> Message | None:
        """Return the message at this offset as it is now; None if no message is remembered there."""
        record = self._records.get(offset)
        if record is None or record.kind in CHANGES:
            return None
        return self._now.get(offset, record)

    def messages(self) -> list[Message]:
        """Return the messages that are remembered and not deleted, as they are now, oldest first."""
        return self._among(self._records)

    def page(self, records: Iterable[Message]) -> list[Message]:
        """Return the messages among old records as they are now, by all known changes, without deleted messages.

        The changes among the records are remembered for older pages, at most `kept` of them.
        """
        page = {record.offset: record for record in records}
        self._paged |= {offset: record for offset, record in page.items() if record.kind in CHANGES}
        while self._kept is not None and len(self._paged) > self._kept:
            del self._paged[next(iter(self._paged))]
        known = self._paged | self._records | page
        whole = Fold(kept=None)
        for offset in sorted(known):
            whole.add(known[offset])
        return whole._among(sorted(page))

    def clear(self) -> None:
        """Forget everything, since offsets mean other records from now on."""
        self._records.clear()
        self._about.clear()
        self._now.clear()
        self._paged.clear()

    def _among(self, offsets: Iterable[int]) -> list[Message]:
        messages = map(self.message, offsets)
        return [message for message in messages if message is not None and not message.redacted]

    def _message_of(self, record: Message) -> Message | None:
        """Return the record of the message that a change is about, also if it changes another change."""
        about: Message | None = record
        while about is not None and about.kind in CHANGES:
            # Only to an earlier record, so this loop ends.
            about = self._records.get(about.ref) if about.ref < about.offset else None
        return about

    def _changes(self, record: Message) -> Iterator[Message]:
        return (self._records[offset] for offset in self._about.get(record.offset, ()))

    def _folded(self, record: Message) -> Message:
        """Return the message of a record with all its changes."""
        if record.kind == GONE:
            return record
        text, edited = record.text, False
        reactions: dict[str, list[str]] = {}
        for change in self._changes(record):
            if change.kind == REDACT:
                if _may_delete(change, record):
                    return replace(record, kind=GONE, text=GONE_TEXT, ref=0, data={})
            elif record.kind not in UTTERANCES or self._is_deleted(change):
                continue
            elif change.kind == REACT:
                names = reactions.setdefault(change.text, [])
                if change.by not in names:
                    names.append(change.by)
            elif _same_author(change, record):
                text, edited = change.text, True
        told = {reaction: tuple(names) for reaction, names in reactions.items()}
        return replace(record, text=text, edited=edited, reactions=told)

    def _is_deleted(self, change: Message) -> bool:
        """Whether an edit or a reaction was taken back."""
        return any(later.kind == REDACT and _may_delete(later, change) for later in self._changes(change))


def _may_delete(deletion: Message, record: Message) -> bool:
    # The nodes alone write the field of a moderation, after they have judged it.
    return _same_author(deletion, record) or is_moderation(deletion.kind, deletion.data)


def _same_author(one: Message, other: Message) -> bool:
    if one.account and one.account == other.account:
        return True
    return session_of_id(one.id) == session_of_id(other.id)
