"""What belongs to an account: its rooms with read marks, its private conversations, the people whom it ignores.

This module owns that document; any thread may call it. It must never let the document grow without a bound.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.store import Store
from parlour.wire.errors import UsageError
from parlour.wire.skeleton import skeleton

__all__ = ["Belongings", "BelongingsBook"]

MOST = 64 * 1024
"""Bytes of the document, at most."""

_size = msgspec.msgpack.Encoder().encode


class Belongings(Struct, frozen=True, omit_defaults=True):
    """What belongs to an account.

    Attributes:
        rooms: the rooms that the account is in, and up to which offset it has read each.
        conversations: the rooms of private conversations, and the name of the other one in each.
        ignored: the names of people whom the account ignores.
        version: counts the changes, so that a device sees whether it missed news.
    """

    rooms: dict[str, int] = {}
    conversations: dict[str, str] = {}
    ignored: tuple[str, ...] = ()
    version: int = 0


class BelongingsBook:
    """The belongings of all accounts. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._belongings = Documents(store, "own/", Belongings)

    def get(self, account: str) -> Belongings:
        """Return what belongs to an account."""
        return self._belongings.get(skeleton(account)) or Belongings()

    def change(self, account: str, work: Callable[[Belongings], Belongings]) -> Belongings:
        """Change what belongs to an account, and return it; raises UsageError if it becomes too much."""

        def change(old: Belongings | None) -> Belongings:
            before = old or Belongings()
            after = work(before)
            if after == before:
                return before
            if len(_size(after)) > MOST:
                raise UsageError("an account has no room for more: leave rooms, or ignore fewer people")
            return msgspec.structs.replace(after, version=before.version + 1)

        changed = self._belongings.change(skeleton(account), change)
        assert changed is not None
        return changed

    def remove(self, account: str) -> None:
        """Remove what belongs to an account that is removed."""
        self._belongings.change(skeleton(account), lambda _: None)
