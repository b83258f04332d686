"""The people whom posts that change a room name: a role belongs to an account, and only members can be shown out.

This module owns these two checks, which rights, being pure, cannot make; a client's own thread runs them. They must
never decide who has the right to do it.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from parlour.directory.accounts import Accounts
from parlour.node.people.refusal import RefusedClientError
from parlour.node.rooms.room import Room
from parlour.wire.messages import Say
from parlour.wire.skeleton import skeleton

__all__ = ["checked_target"]

PATIENCE = 2.0
"""Seconds for the news that somebody has joined at another node."""

_POLL = 0.02
"""Seconds between two looks at the names in the room."""


def checked_target(room: Room, accounts: Accounts, say: Say) -> Say:
    """Return a post with the account's own spelling of the name that it gives a role.

    Raises RefusedClientError if there is no such account, or if nobody of that name is there to be shown out, and
    DirectoryError.
    """
    who = say.data.get("who")
    if not isinstance(who, str):
        return say  # it is refused later, with the form that it should have
    if say.kind == "role" and say.data.get("role"):
        account = accounts.get(who)
        if account is None:
            text = f"there is no account {who}: a role belongs to an account, which /register makes of a name"
            raise RefusedClientError("no_person", text)
        return replace(say, data={**say.data, "who": account.name})
    if say.kind == "kick" and not _is_here(room, who):
        raise RefusedClientError("no_person", f"nobody in this room has the name {who}: /who shows who is here")
    return say


def _is_here(room: Room, who: str) -> bool:
    wanted, deadline = skeleton(who), time.monotonic() + PATIENCE
    while wanted not in map(skeleton, list(room.names)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
