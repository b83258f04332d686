"""The records of a room and the posts that they come from, as a round compares them.

This module owns these two immutable classes, which cross threads and processes freely. A record must never have a field
that differs between clients that see the same.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Record", "SentPost"]


class Record(NamedTuple):
    """A record as the log holds it, or as a client saw it."""

    offset: int
    id: str
    by: str
    at: int
    """When the sender's node received it, in milliseconds since the Unix epoch."""
    text: str
    kind: str = ""
    ref: int = 0


class SentPost(NamedTuple):
    """A post as its sender knows it. No client posts the same text, kind and reference twice."""

    by: str
    text: str
    kind: str = ""
    ref: int = 0
    id: str | None = None
    """The id of the record; it and `offset` are None if the post was not acknowledged."""
    offset: int | None = None
    refused: bool = False
    """Whether the node refused it because of the record that it refers to."""
