"""People who are here and may not be here any more: banned from the cluster, or with an account that is gone.

This module owns the thread that looks for them in the directory. It must never end a session because the directory does
not answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from parlour.directory.bans import Ban
from parlour.directory.directory import Directory
from parlour.node.people.lookout import Lookout
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.people import Person

__all__ = ["Exclusion"]

LOOK = 2.0
"""Seconds between two looks at the bans and at accounts that were just closed."""

PARTS = 15
"""Looks in which all accounts that are here are looked at, some at each."""


class Exclusion(Lookout):
    """The thread that looks for people who may not be here any more, and ends their sessions at one node."""

    def __init__(
        self,
        name: str,
        directory: Directory,
        sessions: Callable[[], Iterable[tuple[str, Person]]],
        check: Callable[[Person], object],
        end: Callable[[str, RefusedClientError], object],
    ) -> None:
        """Name the thread `name`.

        `sessions` returns the sessions with their people, `check` raises RefusedClientError for a person whom the
        cluster has banned, and `end` ends a session and tells it why.
        """
        super().__init__(name, LOOK)
        self._directory = directory
        self._sessions = sessions
        self._check = check
        self._end = end
        # For the thread alone:
        self._bans: list[Ban] = []
        self._again = 0  # looks at which all people are still to be compared with the bans
        self._part = 0

    def look(self) -> None:
        """End the sessions of those who were banned, and of those whose account is gone; raises DirectoryError."""
        self._look_at_bans()
        self._look_at_accounts()

    def _look_at_bans(self) -> None:
        bans = self._directory.bans.list()
        if bans != self._bans:
            # Twice, because a person who was just let in by the old bans may not have a session at the first look.
            self._bans, self._again = bans, 2
        if not self._again:
            return
        self._again -= 1
        for session, person in self._sessions():
            try:
                self._check(person)
            except RefusedClientError as refusal:
                self._end(session, refusal)

    def _look_at_accounts(self) -> None:
        """Look at the accounts that were just closed, and at some of the others: a closing may have been missed."""
        self._part = (self._part + 1) % PARTS
        closings = self._directory.accounts.closings()
        here: dict[str, list[str]] = {}
        for session, person in self._sessions():
            own = person.account
            if own and (own in closings or zlib.crc32(own.encode()) % PARTS == self._part):
                here.setdefault(own, []).append(session)
        for name, sessions in here.items():
            account = self._directory.accounts.get(name)
            if account is None or account.disabled:
                what = "was removed" if account is None else "is disabled"
                for session in sessions:
                    self._end(session, RefusedClientError("disabled", f"the account {name} {what}: ask an operator"))
