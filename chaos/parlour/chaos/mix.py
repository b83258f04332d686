"""What a round's clients spoke, and what they posted: how many of each.

This module owns the words for dialects and kinds of posts, and their count. It is pure. It must never count a client or
a post twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from parlour.chaos.records import Post
from parlour.wire.records import EDIT, REACT, REDACT

__all__ = ["KINDS", "Dialect", "Mix", "mix"]

KINDS = ("text", "reply", EDIT, REDACT, REACT)
"""What a post may be."""


class Dialect(StrEnum):
    """What a client speaks: frames, by the library, or JSON lines, without it."""

    FRAMES = "frames"
    JSON = "JSON lines"


@dataclass(frozen=True)
class Mix:
    """The clients that speak one dialect."""

    dialect: Dialect
    clients: int
    posts: Mapping[str, int]
    """How many posts they made of each kind."""


def mix(dialects: Mapping[str, Dialect], posts: Iterable[Post]) -> list[Mix]:
    """Return what the clients, whose dialects are given by name, spoke and posted."""
    clients = Counter(dialects.values())
    counts = {dialect: Counter(dict.fromkeys(KINDS, 0)) for dialect in Dialect}
    for post in posts:
        counts[dialects[post.by]][post.kind or ("reply" if post.ref else "text")] += 1
    return [Mix(dialect, clients[dialect], counts[dialect]) for dialect in Dialect]
