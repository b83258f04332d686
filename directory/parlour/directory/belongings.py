"""What belongs to a person: rooms with read marks, private conversations, the people whom the person ignores.

This module owns that document; any thread may call it. It must never let the document grow without a bound.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.store import Store
from parlour.wire.direct import GUESTS
from parlour.wire.errors import UsageError

__all__ = ["Belongings", "BelongingsBook"]

MOST = 64 * 1024
"""Bytes of the document, at most."""

GUEST = 7 * 24 * 3600
"""Seconds after the last change for which the belongings of a guest are kept."""

_size = msgspec.msgpack.Encoder().encode


class Belongings(Struct, frozen=True, omit_defaults=True):
    """What belongs to a person.

    Attributes:
        rooms: the rooms that an account is in, and up to which offset it has read each.
        conversations: the rooms of private conversations, and the name of the other one in each.
        ignored: the names of people whom the person ignores.
        version: counts the changes, so that a device sees whether it missed news.
    """

    rooms: dict[str, int] = {}
    conversations: dict[str, str] = {}
    ignored: tuple[str, ...] = ()
    version: int = 0


class BelongingsBook:
    """The belongings of all people, by identity (see `wire.direct`).

    Every method raises DirectoryError if the store fails. What belongs to a guest ends a while after its last change.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._belongings = Documents(store, "own/", Belongings)

    def get(self, identity: str) -> Belongings:
        """Return what belongs to a person."""
        return self._belongings.get(identity) or Belongings()

    def change(self, identity: str, work: Callable[[Belongings], Belongings]) -> Belongings:
        """Change what belongs to a person, and return it; raises UsageError if it becomes too much."""

        def change(old: Belongings | None) -> Belongings:
            before = old or Belongings()
            after = work(before)
            if after == before:
                return before
            if len(_size(after)) > MOST:
                raise UsageError("there is no room for more: leave rooms, or ignore fewer people")
            return msgspec.structs.replace(after, version=before.version + 1)

        ends = self._store.now() + GUEST * 1000 if identity.startswith(GUESTS) else 0
        changed = self._belongings.change(identity, change, ends)
        assert changed is not None
        return changed

    def remove(self, identity: str) -> None:
        """Remove what belongs to a person, whose account is removed."""
        self._belongings.change(identity, lambda _: None)
