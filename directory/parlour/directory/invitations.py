"""Invitations: codes with which people make accounts.

This module owns the codes, of which it keeps hashes; any thread may call it. It must never let a code be used more
often than it says.
"""

from __future__ import annotations

import hashlib
import secrets

from msgspec import Struct
from msgspec.structs import replace

from parlour.directory.documents import Documents
from parlour.directory.store import Store

__all__ = ["Invitation", "Invitations"]


class Invitation(Struct, frozen=True):
    """An invitation to a room, or to none, with the uses that are left; `ends` is in ms since the Unix epoch."""

    room: str
    uses: int
    ends: int


class Invitations:
    """All invitations. Every method raises DirectoryError if the store fails."""

    def __init__(self, store: Store) -> None:
        self._invitations = Documents(store, "invite/", Invitation)

    def make(self, room: str, uses: int, ends: int) -> str:
        """Return the code of a new invitation, which ends at a time in ms since the Unix epoch."""
        code = secrets.token_hex(12)  # letters and digits: it never looks like an option
        self._invitations.change(_hash(code), lambda _: Invitation(room, uses, ends), ends)
        return code

    def use(self, code: str) -> Invitation | None:
        """Use an invitation once and return it; None if it is not good, or not any more."""
        return self._count(code, -1)

    def give_back(self, code: str) -> None:
        """Give a use back that came to nothing."""
        self._count(code, +1)

    def _count(self, code: str, change: int) -> Invitation | None:
        known = self._invitations.get(_hash(code))
        if known is None:
            return None
        counted = False

        def count(invitation: Invitation | None) -> Invitation | None:
            nonlocal counted
            counted = invitation is not None and invitation.uses + change >= 0
            if invitation is None or not counted:
                return invitation
            return replace(invitation, uses=invitation.uses + change)

        used = self._invitations.change(_hash(code), count, known.ends)
        return used if counted else None


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()
