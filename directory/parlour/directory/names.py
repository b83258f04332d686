"""Names in use: a guest's session holds its name by a lease, which lasts as long as its node renews.

This module owns the leases; any thread may call it. It must never let two sessions hold names that look alike.

A lease says at which instance of a node the session is. Each instance renews one document of its own, for all its
leases; when that document ends, all its leases have ended. An account's name needs no lease: nobody else can take it.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from parlour.directory.documents import Documents
from parlour.directory.entries import Entry, Lease, NameTakenError, entries
from parlour.directory.store import Store
from parlour.wire.limits import MAX_NAME
from parlour.wire.skeleton import skeleton

__all__ = ["LEASE", "RENEWAL", "NameTakenError", "Names"]

LEASE = 30.0
"""Seconds after which the leases of a node end that does not renew them."""

RENEWAL = 10.0
"""Seconds between two renewals."""

LONGEST = 365 * 24 * 3600
"""Seconds after which a lease is forgotten that was not released: its node has died long ago.

A renewal does not touch the leases themselves, so this must be longer than any guest stays at one instance of a node.
"""

TRIED = 100
"""Numbers that are tried behind a name to find a free one."""


class _Node(Struct, frozen=True):
    """The document of a node's instance, which ends by itself."""

    renewed: int  # in ms since the Unix epoch


class Names:
    """The names in use. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries = entries(store)
        self._nodes = Documents(store, "node/", _Node)
        # When each instance here renewed last, as far as it knows.
        # Only the thread that renews an instance uses its entry.
        self._renewed: dict[str, int] = {}

    def take(self, name: str, session: str, instance: str, address: str = "") -> None:
        """Let a guest's session, from an address, hold a name at an instance of a node; raises NameTakenError.

        The same session may take its name again, at any node.
        """
        lease = Lease(name, session, instance, address)

        def take(entry: Entry | None) -> Entry:
            if entry is not None and self.taken(entry, session):
                raise self.refusal(name, entry)
            return Entry(lease=lease)

        self._entries.change(skeleton(name), take, self._store.now() + LONGEST * 1000)

    def release(self, name: str, session: str, instance: str) -> None:
        """Give a name up, unless the session holds it at another instance by now."""

        def release(entry: Entry | None) -> Entry | None:
            lease = entry.lease if entry is not None else None
            if entry is None or lease is None or (lease.session, lease.instance) != (session, instance):
                return entry
            return None if entry.account is None else replace(entry, lease=None)

        self._entries.change(skeleton(name), release)

    def renew(self, instance: str) -> bool:
        """Renew all leases of an instance; return False if they may have ended: others may have its names now.

        They may also have ended if the renewal before failed: it may be stored, and so hide that it came too late.
        """
        now, ended = self._store.now(), True

        def renew(node: _Node | None) -> _Node:
            nonlocal ended  # as it is when the change is stored, which may be later than a first look
            ended = node is None or node.renewed != self._renewed.get(instance)
            return _Node(now)

        self._nodes.change(instance, renew, now + round(LEASE * 1000))
        self._renewed[instance] = now
        return not ended

    def instances(self) -> list[str]:
        """Return the instances of nodes that renew their leases, or have done so in the last 30 s; at most 1000."""
        return self._nodes.names()

    def holder(self, name: str) -> Lease | None:
        """Return the lease of the guest who holds a name, or one that looks like it; None if no guest does."""
        entry = self._entries.get(skeleton(name))
        return entry.lease if entry is not None and entry.lease is not None and self._alive(entry.lease) else None

    def taken(self, entry: Entry, session: str) -> bool:
        """Return whether a name belongs to an account, belonged to one, or belongs to another session than this one."""
        if entry.account is not None or entry.removed is not None:
            return True
        return entry.lease is not None and entry.lease.session != session and self._alive(entry.lease)

    def refusal(self, name: str, entry: Entry) -> NameTakenError:
        """Return the error of somebody who asks for a name that is taken; `entry` is the name's document."""
        return NameTakenError(name, self.free(name), entry.removed.name if entry.removed is not None else "")

    def free(self, name: str) -> str:
        """Return a free name that is like this one; empty if none is found."""
        for number in range(2, TRIED):
            other = f"{name[: MAX_NAME - len(str(number))]}{number}"
            entry = self._entries.get(skeleton(other))
            if entry is None or not self.taken(entry, ""):
                return other
        return ""

    def _alive(self, lease: Lease) -> bool:
        return self._nodes.get(lease.instance) is not None
