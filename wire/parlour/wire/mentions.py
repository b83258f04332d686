"""Mentions: whether a text names a person.

This module owns the rule, which nodes and clients share; its functions are pure. It must never take a part of a word
for a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["find_mention"]


def find_mention(text: str, names: Iterable[str]) -> re.Match[str] | None:
    """Return the first place in a text that has one of a person's names as a word of its own, in any case.

    The names are the one under which the person posts, and the display name of its account; empty ones do not count.
    """
    pattern = _pattern(tuple(names))
    return pattern.search(text) if pattern is not None else None


@lru_cache(maxsize=1000)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    # A longer name comes first, as one may begin with the other.
    known = "|".join(re.escape(name) for name in sorted(filter(None, names), key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{known})(?!\w)", re.IGNORECASE) if known else None
