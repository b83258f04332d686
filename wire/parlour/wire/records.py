"""The records of the room log: their kinds, the map of a kind's own fields, and the rest of a deleted record.

This module owns the words for kinds and the rules for posts; its functions are pure and may run on any thread. It must
never need the room: the node finds the record that a post refers to, and passes its kind in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_COUNT, MAX_DEPTH

__all__ = [
    "ACTION",
    "CHANGE_KINDS",
    "EDIT",
    "GONE",
    "GONE_TEXT",
    "MAX_DATA",
    "MAX_KIND",
    "MAX_REACTION",
    "MODERATED",
    "NOTICE",
    "REACT",
    "REDACT",
    "SAID",
    "STATE_KINDS",
    "UTTERANCES",
    "check_data",
    "is_moderation",
    "post_fault",
    "reference_fault",
    "session_of_id",
]

SAID, ACTION, NOTICE = "", "action", "notice"
EDIT, REDACT, REACT = "edit", "redact", "react"
GONE = "gone"
"""The kind of a record whose text was deleted: it keeps its offset, id, sender and time, and nothing else."""

UTTERANCES = frozenset({SAID, ACTION, NOTICE})
"""Kinds of records that say something themselves; with a `ref` they are replies. Only these can be edited."""

STATE_KINDS = frozenset({"topic", "role", "ban", "unban", "mute", "unmute", "invite", "setting", "kick"})
"""Kinds of records that change the room's state; `wire.room_state` folds them."""

CHANGE_KINDS = STATE_KINDS | {REDACT}
"""Kinds of records that change the room or another record, as soon as they are delivered."""

MODERATED = "moderator"
"""The field of a deletion by somebody else than the author; the node alone writes it, and judges such a deletion."""

GONE_TEXT = "(deleted)"
"""The text of a record that is gone, for clients that do not know this kind."""

MAX_KIND = 32
"""Longest kind, in characters; later versions add kinds."""

MAX_DATA = 4096
"""Largest `data` of a record, in bytes of MessagePack."""

MAX_REACTION = 64
"""Longest reaction, in bytes of UTF-8."""

_REFERRING = frozenset({EDIT, REDACT, REACT})

# A record's data is nested in a message, which is nested in the list of a page.
_LEVELS = MAX_DEPTH - 3

_size = msgspec.msgpack.Encoder().encode


def check_data(data: Mapping[str, object]) -> None:
    """Raise UsageError if the map has more than 4 KiB, or if JSON cannot carry it."""
    _check_value(data, _LEVELS)
    if (size := len(_size(data))) > MAX_DATA:
        raise UsageError(f"data has at most {MAX_DATA} bytes, this one has {size}")


def _check_value(value: object, levels: int) -> None:
    if isinstance(value, Mapping | list | tuple) and levels == 0:
        raise UsageError(f"maps and lists in data may be nested {_LEVELS} deep, not deeper")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UsageError(f"the keys of data are strings, not {key!r}")
            _check_value(key, levels)
            _check_value(inner, levels - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_value(inner, levels - 1)
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise UsageError("data must be valid Unicode without lone surrogates")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError("the numbers in data are finite")
    elif isinstance(value, int):
        if not -MAX_COUNT <= value <= MAX_COUNT:
            raise UsageError(f"whole numbers in data are at most {MAX_COUNT}")
    elif value is not None:
        raise UsageError(f"data may hold JSON values alone, not {type(value).__name__}")


def is_moderation(kind: str, data: Mapping[str, object]) -> bool:
    """Return whether a record of this kind, with this data, deletes a record of another person."""
    return kind == REDACT and data.get(MODERATED) is True


def session_of_id(record_id: str) -> str:
    """Return the session of the author of a record with this id, which is `SESSION-N`."""
    return record_id.rpartition("-")[0]


def post_fault(kind: str, ref: int, text: str) -> str:
    """Return the fault of a client's post of this kind, in a line; an empty string if it has none."""
    if kind in _REFERRING:
        if not ref:
            return f"a post of the kind {kind} names a record: give its offset as ref"
        if kind == REACT and not 0 < len(text.encode()) <= MAX_REACTION:
            return f"a reaction is a text of 1 to {MAX_REACTION} bytes"
        return ""
    if kind not in UTTERANCES | STATE_KINDS:
        kinds = ", ".join([*sorted(UTTERANCES - {SAID}), *sorted(_REFERRING)])
        return f"a client cannot post records of the kind {kind!r}: leave kind out, or give one of {kinds}"
    return ""


def reference_fault(kind: str, target: str | None, mine: bool) -> str:
    """Return why a record of this kind may not refer to a record of the kind `target`; an empty string if it may.

    `target` is None if there is no such record; `mine` tells whether the sender is its author. The text continues the
    words "record 7". Whether a record is deleted is for the log to say: it knows whether the post was logged before.
    Whether somebody else than the author may delete it is for the room's state to say, see `rights`.
    """
    if kind not in _REFERRING:
        return ""
    if target is None:
        return "is not in the room"
    if kind == EDIT and not mine:
        return "is not yours: only its author may edit it"
    if kind == REDACT:
        deletable = target in UTTERANCES or target in (EDIT, REACT, GONE)
        return "" if deletable else f"is of the kind {target}: only texts, edits and reactions can be deleted"
    if target not in UTTERANCES and target != GONE:
        return f"is of the kind {target}: only texts of members can be {'edited' if kind == EDIT else 'reacted to'}"
    return ""
