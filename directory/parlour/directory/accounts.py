"""Accounts: names that belong to a person for good.

This module owns the rules of making, changing and removing them; any thread may call it. It must never give a name to
two accounts, nor to an account while a guest uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from parlour.directory.belongings import BelongingsBook
from parlour.directory.entries import Account, Entry, NameTakenError, entries
from parlour.directory.names import Names
from parlour.directory.passwords import Password
from parlour.directory.store import Store
from parlour.wire.direct import account_identity
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name
from parlour.wire.skeleton import skeleton

__all__ = ["Account", "Accounts", "UnknownAccountError"]


class UnknownAccountError(UsageError):
    """There is no account of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no account {name}: `parlour account list` shows all")


class Accounts:
    """All accounts. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store, names: Names, belongings: BelongingsBook) -> None:
        self._store = store
        self._names = names
        self._belongings = belongings
        self._entries = entries(store)

    def add(self, name: str, password: Password | None, operator: bool = False, by: str = "") -> Account:
        """Make an account; raises NameTakenError, and UsageError for an impossible name.

        `by` is the session of the guest who uses the name now, and registers it. Without a password the account can be
        used by other proofs alone.
        """
        name = check_name(name)
        account = Account(name, skeleton(name), operator=operator, made=self._store.now())

        def make(entry: Entry | None) -> Entry:
            if entry is not None and self._names.taken(entry, by):
                raise NameTakenError(name, self._names.free(name))
            return Entry(account, password)

        self._entries.change(account.skeleton, make)
        return account

    def get(self, name: str) -> Account | None:
        """Return the account of this name, or of one that looks like it; None if there is none."""
        entry = self._entries.get(skeleton(name))
        return entry.account if entry is not None else None

    def password(self, name: str) -> Password | None:
        """Return what is kept of an account's password; None if it has none."""
        entry = self._entries.get(skeleton(name))
        return entry.password if entry is not None else None

    def change(self, name: str, **fields: Any) -> Account:
        """Change fields of an account: display, operator, disabled, rate; raises UnknownAccountError."""
        changed = self._change(name, lambda entry, account: replace(entry, account=replace(account, **fields)))
        assert changed.account is not None
        return changed.account

    def set_password(self, name: str, password: Password) -> None:
        """Give an account another password; its devices stay signed in. Raises UnknownAccountError."""
        self._change(name, lambda entry, _: replace(entry, password=password))

    def remove(self, name: str) -> None:
        """Remove an account and what belongs to it, so that its name is free; raises UnknownAccountError."""
        account = self.get(name)
        if account is None:
            raise UnknownAccountError(name)
        self._entries.change(account.skeleton, lambda _: None)
        self._belongings.remove(account_identity(account.name))

    def list(self, after: str = "", limit: int = 1000) -> list[Account]:
        """Return the accounts whose skeletons follow `after`, in the order of their skeletons, at most `limit`."""
        found: list[Account] = []
        while len(found) < limit and (names := self._entries.names(after)):
            for name in names:
                entry = self._entries.get(name)
                if entry is not None and entry.account is not None and len(found) < limit:
                    found.append(entry.account)
            after = names[-1]
        return found

    def _change(self, name: str, work: Callable[[Entry, Account], Entry]) -> Entry:
        def change(entry: Entry | None) -> Entry:
            if entry is None or entry.account is None:
                raise UnknownAccountError(name)
            return work(entry, entry.account)

        changed = self._entries.change(skeleton(name), change)
        assert changed is not None
        return changed
