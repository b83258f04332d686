"""What a round compares: the records of a room, and the posts that they come from.

This module owns these two classes; they are immutable, and cross threads and processes freely. They must never hold
what differs from one client to another that sees the same.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Post", "Record"]


class Record(NamedTuple):
    """A record, as the log holds it or a member saw it."""

    offset: int
    id: str
    by: str
    at: int
    """When its sender's node took it in, in milliseconds since the Unix epoch."""
    text: str
    kind: str = ""
    ref: int = 0


class Post(NamedTuple):
    """A post, as its sender knows it. No client posts the same text, kind and reference twice."""

    by: str
    text: str
    kind: str = ""
    ref: int = 0
    id: str | None = None
    """None if it was not acknowledged, as is `offset`."""
    offset: int | None = None
    refused: bool = False
    """Whether the node refused it, as the record that it refers to was deleted."""
