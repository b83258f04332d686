"""The mix of dialects and kinds of posts in a round.

This module owns the words for them, and their count. It is pure. It must never count a client or a post twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from parlour.chaos.records import SentPost
from parlour.wire.records import EDIT, REACT, REDACT

__all__ = ["KINDS", "ClientDialect", "Mix", "mix"]

KINDS = ("text", "reply", EDIT, REDACT, REACT)
"""The kinds of posts."""


class ClientDialect(StrEnum):
    """The dialect of a client: frames, which the library speaks, or JSON lines."""

    FRAMES = "frames"
    JSON = "JSON lines"


@dataclass(frozen=True)
class Mix:
    """The clients of one dialect."""

    dialect: ClientDialect
    clients: int
    posts: Mapping[str, int]
    """The number of their posts of each kind."""


def mix(dialects: Mapping[str, ClientDialect], posts: Iterable[SentPost]) -> list[Mix]:
    """Count the clients, given with their dialects by name, and their posts."""
    clients = Counter(dialects.values())
    counts: dict[ClientDialect, Counter[str]] = {dialect: Counter(dict.fromkeys(KINDS, 0)) for dialect in ClientDialect}
    for post in posts:
        counts[dialects[post.by]][post.kind or ("reply" if post.ref else "text")] += 1
    return [Mix(dialect, clients[dialect], counts[dialect]) for dialect in ClientDialect]
