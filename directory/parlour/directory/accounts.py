"""Accounts: names that belong to a person for good.

This module owns the rules of making, changing and removing them; any thread may call it. It must never give a name to
two accounts, not even one after the other, nor to an account while a guest uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from parlour.directory.belongings import BelongingsBook
from parlour.directory.documents import Documents
from parlour.directory.entries import Account, Device, Entry, Removed, entries
from parlour.directory.names import Names
from parlour.directory.passwords import Password
from parlour.directory.store import Store
from parlour.directory.tokens import Tokens
from parlour.wire.direct import account_identity
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name
from parlour.wire.skeleton import skeleton

__all__ = ["Account", "Accounts", "UnknownAccountError"]

CLOSING = 60_000
"""Ms for which the directory remembers whose account was just removed or disabled."""

_LATELY = "lately"
"""The name of the document of these."""

CLOSINGS = 1000
"""Such accounts, at most; nodes find people of further ones later, as they look at all people's accounts in turn."""


class UnknownAccountError(UsageError):
    """There is no account of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no account {name}: `parlour account list` shows all")


class _Closings(Struct, frozen=True):
    """The accounts that were removed or disabled of late: when, by name."""

    at: dict[str, int]


class Accounts:
    """All accounts. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store, names: Names, belongings: BelongingsBook, tokens: Tokens) -> None:
        self._store = store
        self._names = names
        self._belongings = belongings
        self._tokens = tokens
        self._entries = entries(store)
        self._closings = Documents(store, "closing/", _Closings)

    def add(self, name: str, password: Password | None, operator: bool = False, by: str = "") -> Account:
        """Make an account; raises NameTakenError, and UsageError for an impossible name.

        `by` is the session of the guest who uses the name now, and registers it. Without a password the account can be
        used by other proofs alone.
        """
        name = check_name(name)
        account = Account(name, skeleton(name), operator=operator, made=self._store.now())

        def make(entry: Entry | None) -> Entry:
            if entry is not None and self._names.taken(entry, by):
                raise self._names.refusal(name, entry)
            return Entry(account, password)

        self._entries.change(account.skeleton, make)
        return account

    def check_free(self, name: str) -> None:
        """Raise NameTakenError if `add` would for any session."""
        entry = self._entries.get(skeleton(name))
        if entry is not None and self._names.taken(entry, ""):
            raise self._names.refusal(name, entry)

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
        if fields.get("disabled"):
            self._note_closing(changed.account.name)
        return changed.account

    def set_password(self, name: str, password: Password) -> None:
        """Give an account another password; its devices stay signed in. Raises UnknownAccountError."""
        self._change(name, lambda entry, _: replace(entry, password=password))

    def remove(self, name: str) -> None:
        """Remove an account and what belongs to it; raises UnknownAccountError.

        Its name stays reserved for good, with all that look like it.
        """
        account, devices = self.get(name), tuple[Device, ...]()
        if account is None:
            raise UnknownAccountError(name)

        def bury(entry: Entry, known: Account) -> Entry:
            nonlocal devices
            devices = entry.devices
            return Entry(removed=Removed(known.name, self._store.now()))

        self._belongings.remove(account_identity(account.name))  # before, as nobody may repeat this if it is cut short
        self._change(name, bury)
        self._note_closing(account.name)
        self._tokens.forget(devices)
        self._belongings.remove(account_identity(account.name))  # again: a session may have changed them meanwhile

    def removed(self, name: str) -> Removed | None:
        """Return what is left of the removed account of this name, or of one that looks like it; None if none was."""
        entry = self._entries.get(skeleton(name))
        return entry.removed if entry is not None else None

    def closings(self) -> set[str]:
        """Return the names of accounts that were removed or disabled within the last minute."""
        known = self._closings.get(_LATELY)
        return set(known.at) if known is not None else set()

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

    def _note_closing(self, name: str) -> None:
        now = self._store.now()

        def note(known: _Closings | None) -> _Closings:
            before = known.at if known is not None else {}
            late = {other: at for other, at in before.items() if other != name and at > now - CLOSING}
            return _Closings(dict([*list(late.items())[-(CLOSINGS - 1) :], (name, now)]))

        self._closings.change(_LATELY, note, now + CLOSING)

    def _change(self, name: str, work: Callable[[Entry, Account], Entry]) -> Entry:
        def change(entry: Entry | None) -> Entry:
            if entry is None or entry.account is None:
                raise UnknownAccountError(name)
            return work(entry, entry.account)

        changed = self._entries.change(skeleton(name), change)
        assert changed is not None
        return changed
