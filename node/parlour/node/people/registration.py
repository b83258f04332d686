"""Making accounts: who may, with which invitation; changes of a password, and invitations.

This module owns these rules; clients' threads call it. It must never leave an invitation used up for an account that
was not made.
"""

from __future__ import annotations

import time
from contextlib import suppress

from parlour.directory.accounts import Account
from parlour.directory.belongings import Belongings
from parlour.directory.directory import Directory
from parlour.directory.names import NameTakenError
from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node.log import LogError, RoomLog
from parlour.node.people.leases import name_taken
from parlour.node.people.passwordqueue import PasswordQueue
from parlour.node.people.refusal import RefusedClientError, bad_login
from parlour.node.people.signin import SignIn
from parlour.wire.direct import account_identity
from parlour.wire.errors import UsageError
from parlour.wire.people import Person

__all__ = ["Registration"]

SHORTEST = 8
"""Characters of the shortest password."""

INVITATION = 7 * 24 * 3600
"""Seconds for which an invitation of a person is good."""


class Registration:
    """The ways to an account. Each raises RefusedClientError, UsageError, or DirectoryError if the directory fails."""

    def __init__(
        self, directory: Directory, log: RoomLog, passwords: PasswordQueue, signin: SignIn, policy: str
    ) -> None:
        """Let people register as `policy` says: "open", "invite" or "closed"."""
        self._directory = directory
        self._log = log
        self._passwords = passwords
        self._signin = signin
        self._policy = policy

    def register(self, name: str, password: str, invitation: str, session: str) -> Account:
        """Make an account of a name that is free, or that the session has; it is in the room of the invitation."""
        if self._policy == "closed":
            raise RefusedClientError("no_registration", "only operators make accounts here: ask one")
        _check_password(password)
        invited = self._directory.invitations.use(invitation) if invitation else None
        if invited is None and self._policy == "invite":
            text = "an account needs an invitation here, and this one is not good, or not any more: ask for another"
            raise RefusedClientError("bad_invitation", text)
        try:
            made = self._passwords.do(lambda: make_password(password))
            account = self._directory.accounts.add(name, made, by=session)
        except BaseException as error:
            if invited is not None:
                self._directory.invitations.give_back(invitation)
            if isinstance(error, NameTakenError):
                raise name_taken(error) from None
            raise
        if invited is not None and invited.room:
            self._enroll(account, invited.room)
        return account

    def _enroll(self, account: Account, room: str) -> None:
        """Make a new account a member of a room, where all that was said counts as read; the account is made anyway."""
        with suppress(DirectoryError, LogError):
            top = self._log.extent(room).top
            self._directory.belongings.change(account_identity(account.name), lambda _: Belongings({room: top}))

    def change_password(self, person: Person, old: str, new: str) -> None:
        """Give an account another password; `old` is the present one, or empty if it has none."""
        _check_password(new)
        if self._directory.accounts.password(person.account) is not None:
            self._signin.by_password(person.account, old, person.address)
        elif old:
            raise bad_login()
        made = self._passwords.do(lambda: make_password(new))
        self._directory.accounts.set_password(person.account, made)

    def invite(self, person: Person) -> str:
        """Return a new invitation for one person."""
        if self._policy == "closed" and not person.operator:
            raise RefusedClientError("no_registration", "only operators invite people here: ask one")
        return self._directory.invitations.make("", 1, int(time.time() * 1000) + INVITATION * 1000)


def _check_password(password: str) -> None:
    """Raise UsageError for a password that is too short."""
    if len(password) < SHORTEST:
        raise UsageError(f"a password has at least {SHORTEST} characters, this one has {len(password)}")
