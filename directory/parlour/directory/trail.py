"""The trail: the acts of operators, and the sign-ins that failed, for those who have to find out what happened.

This module owns the entries; any thread may call it. An entry must never hold a secret.
"""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.store import Store

__all__ = ["Trail", "TrailEntry"]

KEPT = 90 * 24 * 3600
"""Seconds for which an entry is kept."""


class TrailEntry(Struct, frozen=True):
    """What was done, by whom (a name), when (ms since the Unix epoch), and more of it."""

    at: int
    what: str
    by: str
    data: dict[str, Any]


class Trail:
    """The entries. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries = Documents(store, "trail/", TrailEntry)

    def add(self, what: str, by: str, data: dict[str, Any]) -> None:
        """Add an entry, now."""
        now = self._store.now()
        entry = TrailEntry(now, what, by, data)
        self._entries.change(f"{now:015d}-{secrets.token_hex(4)}", lambda _: entry, now + KEPT * 1000)

    def entries(self, since: int, limit: int) -> list[TrailEntry]:
        """Return the entries since a time in ms since the Unix epoch, in order, at most `limit`."""
        names = self._entries.names(f"{max(0, since):015d}", limit)
        return [entry for name in names if (entry := self._entries.get(name)) is not None]
