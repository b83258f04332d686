"""Private conversations: the room of a pair of people.

This module owns the names of such rooms; its functions are pure. A name must never tell who the two are.
"""

from __future__ import annotations

import hashlib

from parlour.wire.limits import DIRECT

__all__ = ["GUESTS", "account_identity", "direct_room", "guest_identity"]


GUESTS = "guest/"
"""The beginning of the identities of guests."""


def account_identity(account: str) -> str:
    """Return the identity of an account, whose name is spelled as it was registered."""
    return f"account/{account}"


def guest_identity(session: str) -> str:
    """Return the identity of a guest, which ends with the session: the next guest of that name is another person."""
    return f"{GUESTS}{session}"


def direct_room(one: str, other: str) -> str:
    """Return the name of the room of these two identities, which may be the same one."""
    pair = "\n".join(sorted((one, other)))
    return DIRECT + hashlib.blake2b(pair.encode(), digest_size=16).hexdigest()
