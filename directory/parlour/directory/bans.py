"""Bans from the cluster: accounts, names and addresses that may not come in.

This module owns the bans; any thread may call it. It must never ban an operator of the cluster.
"""

from __future__ import annotations

import time

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.store import Store
from parlour.wire.errors import UsageError
from parlour.wire.masks import check_mask, mask_hits
from parlour.wire.people import Person
from parlour.wire.skeleton import skeleton

__all__ = ["Ban", "Bans"]

MOST = 1000
"""Bans, at most: each newcomer is compared with all."""

FRESH = 2.0
"""Seconds for which the list that was read last is used."""


class Ban(Struct, frozen=True):
    """A ban of a name, a pattern with `*` and `?`, an address or a network; `ends` is in ms since the epoch, or 0."""

    who: str
    by: str
    reason: str
    made: int
    ends: int = 0

    def hits(self, person: Person) -> bool:
        """Return whether the ban is meant for a person."""
        return mask_hits(self.who, person)


class Bans:
    """All bans. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bans = Documents(store, "ban/", Ban)
        self._read: tuple[float, list[Ban]] = (float("-inf"), [])  # replaced as a whole, by any thread

    def add(self, who: str, by: str, reason: str = "", ends: int = 0) -> None:
        """Ban by a mask until a time in ms since the Unix epoch, 0 for ever; raises UsageError."""
        who = check_mask(who)
        if len(self.list()) >= MOST:
            raise UsageError(f"there are {MOST} bans already: lift some, or ban a pattern or network")
        ban = Ban(who, by, reason, self._store.now(), ends)
        self._bans.change(skeleton(who), lambda _: ban, ends)
        self._read = (float("-inf"), [])

    def remove(self, who: str) -> bool:
        """Lift a ban; return False if there is none of this name, pattern or address."""
        who = check_mask(who)
        known = self._bans.get(skeleton(who)) is not None
        self._bans.change(skeleton(who), lambda _: None)
        self._read = (float("-inf"), [])
        return known

    def list(self) -> list[Ban]:
        """Return all bans."""
        found = (self._bans.get(name) for name in self._bans.names("", MOST))
        return [ban for ban in found if ban is not None]

    def of(self, person: Person) -> Ban | None:
        """Return a ban that is meant for a person; None for operators of the cluster, and if there is none."""
        read_at, bans = self._read
        if time.monotonic() > read_at + FRESH:
            bans = self.list()
            self._read = (time.monotonic(), bans)
        now = self._store.now()
        return next((ban for ban in bans if ban.hits(person) and not 0 < ban.ends <= now and not person.operator), None)
