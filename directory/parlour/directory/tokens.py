"""Device tokens: a device signs in with a secret of its own, which can be revoked without the others.

This module owns the tokens, of which it keeps hashes; any thread may call it. It must never tell a token again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from parlour.directory.documents import Documents
from parlour.directory.entries import Device, Entry, entries
from parlour.directory.store import Store
from parlour.wire.errors import UsageError
from parlour.wire.skeleton import skeleton

__all__ = ["DEVICES", "Tokens"]

DEVICES = 100
"""Devices of an account, at most: a further one takes the place of the oldest."""


UNUSED = 365 * 24 * 3600
"""Seconds after which a token ends; its device signs in with the password again then."""


class _Token(Struct, frozen=True):
    account: str  # the skeleton of its name
    device: str


class Tokens:
    """The tokens of all devices. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries = entries(store)
        self._tokens = Documents(store, "token/", _Token)

    def make(self, account: str, label: str) -> str:
        """Return a new token for a device of an account; raises UsageError if there is no such account."""
        token = secrets.token_urlsafe(32)
        device = Device(secrets.token_hex(4), label, self._store.now(), _hash(token))
        dropped: tuple[Device, ...] = ()

        def add(entry: Entry | None) -> Entry:
            nonlocal dropped
            if entry is None or entry.account is None:
                raise UsageError(f"there is no account {account}")
            dropped = entry.devices[: -(DEVICES - 1)]
            return replace(entry, devices=(*entry.devices[-(DEVICES - 1) :], device))

        self._entries.change(skeleton(account), add)
        ends = device.made + UNUSED * 1000
        self._tokens.change(device.token, lambda _: _Token(skeleton(account), device.id), ends)
        self.forget(dropped)
        return token

    def account(self, token: str) -> str | None:
        """Return the name of the account whose device has this token; None if no device has it."""
        known = self._tokens.get(_hash(token))
        entry = self._entries.get(known.account) if known is not None else None
        if known is None or entry is None or entry.account is None:
            return None
        return entry.account.name if any(device.id == known.device for device in entry.devices) else None

    def device(self, token: str) -> str:
        """Return the id of the device that has this token; empty if none has."""
        known = self._tokens.get(_hash(token))
        return known.device if known is not None else ""

    def list(self, account: str) -> list[Device]:
        """Return the devices of an account."""
        entry = self._entries.get(skeleton(account))
        return list(entry.devices) if entry is not None else []

    def revoke(self, account: str, device: str) -> bool:
        """Sign a device out; return False if the account has no such device."""
        dropped: tuple[Device, ...] = ()

        def drop(entry: Entry | None) -> Entry | None:
            nonlocal dropped
            if entry is None:
                return None
            dropped = tuple(each for each in entry.devices if each.id == device)
            return replace(entry, devices=tuple(each for each in entry.devices if each.id != device))

        self._entries.change(skeleton(account), drop)
        self.forget(dropped)
        return bool(dropped)

    def forget(self, devices: Iterable[Device]) -> None:
        """Delete the tokens of devices that no account has any more."""
        for device in devices:
            if device.token:
                self._tokens.change(device.token, lambda _: None)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
