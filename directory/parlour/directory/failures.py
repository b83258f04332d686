"""Failed sign-ins: each failure for an account or from an address makes the next attempt wait for longer.

This module owns the delays; any thread may call it. The delays are in the store, so that they hold on all nodes.
"""

from __future__ import annotations

from msgspec import Struct

from parlour.directory.documents import Documents
from parlour.directory.store import Store
from parlour.wire.masks import address_group

__all__ = ["Failures"]

FREE_OF_ACCOUNT, FREE_OF_ADDRESS = 3, 20
"""Failures after which the delay begins. Many people may share an address."""

DOUBLED = 16
"""Times that the delay doubles, at most: enough for the longest one, and a power that a float holds."""

LONGEST = 300.0
"""Seconds that an attempt has to wait, at most: whoever knows the password gets in."""

FORGOTTEN = 3600
"""Seconds after the last failure after which all are forgotten."""


class _Failed(Struct, frozen=True):
    count: int
    until: int  # when the next attempt may come, in ms since the Unix epoch


class Failures:
    """The failed sign-ins. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed = Documents(store, "failures/", _Failed)

    def wait(self, account: str, address: str) -> float:
        """Return the seconds until an attempt for an account (by skeleton) from an address may come; 0 for now."""
        found = [self._failed.get(key) for key, _ in _keys(account, address)]
        until = max((failed.until for failed in found if failed is not None), default=0)
        return max(0.0, (until - self._store.now()) / 1000)

    def note(self, account: str, address: str) -> None:
        """Note that an attempt has failed."""
        now = self._store.now()
        for key, free in _keys(account, address):

            def count(failed: _Failed | None, free: int = free) -> _Failed:
                number = 1 if failed is None else failed.count + 1
                delay = min(2.0 ** min(number - free, DOUBLED), LONGEST) if number > free else 0.0
                return _Failed(number, now + round(1000 * delay))

            self._failed.change(key, count, now + FORGOTTEN * 1000)

    def forget(self, account: str, address: str) -> None:
        """Forget the failures of an account whose owner has signed in; those of the address stay."""
        key, _ = _keys(account, address)[0]
        if self._failed.get(key) is not None:
            self._failed.change(key, lambda _: None)


def _keys(account: str, address: str) -> list[tuple[str, int]]:
    """Return the keys of an account and an address, each with its free failures; an IPv6 address counts by its /64."""
    keys = [(f"account/{account}", FREE_OF_ACCOUNT)]
    group = address_group(address)
    return [*keys, (f"address/{group}", FREE_OF_ADDRESS)] if group else keys
