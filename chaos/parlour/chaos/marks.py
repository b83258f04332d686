"""The mark at the beginning of each text of a round, by which a file can be searched for the text.

This module owns the form of marks. It is pure. A mark must never be a part of another mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["mark_of", "marked", "marks_in"]

_MARK = re.compile(r"c\d+ \d+:")
_MARKS = re.compile(_MARK.pattern.encode())


def marked(name: str, number: int, words: Iterable[str]) -> str:
    """Return the text of the post with this number by the client of this name (`c1`, `c2`, …)."""
    return " ".join([f"{name} {number}:", *words])


def mark_of(text: str) -> str | None:
    """Return the mark of a text; None if it has none."""
    found = _MARK.match(text)
    return found and found[0]


def marks_in(data: bytes) -> set[str]:
    """Return all marks in these bytes."""
    return {mark.decode() for mark in _MARKS.findall(data)}
