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

_ALL = "all"
"""The name of the document."""

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


class _Bans(Struct, frozen=True):
    bans: dict[str, Ban]  # by the skeletons of names, patterns and addresses


class Bans:
    """All bans. Every method raises DirectoryError if the store fails.

    They are one document, because each node reads all of them every few seconds.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bans = Documents(store, "ban/", _Bans)
        self._read: tuple[float, list[Ban]] = (float("-inf"), [])  # replaced as a whole, by any thread

    def add(self, who: str, by: str, reason: str = "", ends: int = 0) -> None:
        """Ban by a mask until a time in ms since the Unix epoch, 0 for ever; raises UsageError."""
        who, now = check_mask(who), self._store.now()

        def add(old: _Bans | None) -> _Bans:
            bans = {**_lasting(old, now), skeleton(who): Ban(who, by, reason, now, ends)}
            if len(bans) > MOST:
                raise UsageError(f"there are {MOST} bans already: lift some, or ban a pattern or network")
            return _Bans(bans)

        self._bans.change(_ALL, add)
        self._read = (float("-inf"), [])

    def remove(self, who: str) -> bool:
        """Lift a ban; return False if there is none of this name, pattern or address."""
        who, now, found = check_mask(who), self._store.now(), False

        def remove(old: _Bans | None) -> _Bans:
            nonlocal found
            bans = _lasting(old, now)
            found = bans.pop(skeleton(who), None) is not None
            return _Bans(bans)

        self._bans.change(_ALL, remove)
        self._read = (float("-inf"), [])
        return found

    def list(self) -> list[Ban]:
        """Return all bans, in the order in which they were made."""
        lasting = _lasting(self._bans.get(_ALL), self._store.now())
        bans = sorted(lasting.values(), key=lambda ban: ban.made)
        self._read = (time.monotonic(), bans)
        return bans

    def of(self, person: Person) -> Ban | None:
        """Return a ban that is meant for a person; None for operators of the cluster, and if there is none."""
        read_at, bans = self._read
        if time.monotonic() > read_at + FRESH:
            bans = self.list()
        if not bans or person.operator:
            return None
        now = self._store.now()
        return next((ban for ban in bans if ban.hits(person) and not 0 < ban.ends <= now), None)


def _lasting(bans: _Bans | None, now: int) -> dict[str, Ban]:
    """Return the bans that have not ended."""
    return {key: ban for key, ban in bans.bans.items() if not 0 < ban.ends <= now} if bans is not None else {}
