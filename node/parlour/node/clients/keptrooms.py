"""The rooms that the directory keeps for one client: the memberships of an account, and private conversations.

This module owns the rule who may join a private conversation; it runs on the client's own thread. It must never tell
whether a conversation of others exists.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from parlour.directory.belongings import Belongings
from parlour.directory.store import DirectoryError
from parlour.node.clients.asker import Asker
from parlour.node.rooms.judgement import RefusedJoinError
from parlour.wire.errors import UsageError
from parlour.wire.limits import is_direct

__all__ = ["KeptRooms"]


class KeptRooms:
    """The kept rooms of one session."""

    def __init__(self, session: Asker) -> None:
        self._session = session

    def check_join(self, room: str) -> None:
        """Raise RefusedJoinError for a private conversation that is not the client's."""
        if not is_direct(room):
            return
        try:
            kept = self._session.context.people.directory.belongings.get(self._session.identity)
        except DirectoryError as error:
            raise RefusedJoinError("unavailable", str(error), 1.0) from None
        if room not in kept.conversations:
            # The same for every room of this kind, whether or not the two have ever talked.
            text = "you are in no such conversation: ask `direct` with the other's name first"
            raise RefusedJoinError("no_conversation", text)

    def joined(self, room: str, top: int) -> None:
        """Keep the membership of an account; what was said up to the offset `top` counts as read."""
        if not is_direct(room):
            self._change(lambda kept: kept if room in kept.rooms else replace(kept, rooms={**kept.rooms, room: top}))

    def left(self, room: str) -> None:
        """End the membership of an account."""

        def leave(kept: Belongings) -> Belongings:
            return replace(kept, rooms={name: mark for name, mark in kept.rooms.items() if name != room})

        self._change(leave)

    def _change(self, work: Callable[[Belongings], Belongings]) -> None:
        session = self._session
        if not session.person.account or session.observer:
            return
        # The room is joined or left all the same: chat goes on without the directory, and without room in it.
        with suppress(DirectoryError, UsageError):
            session.context.people.directory.belongings.change(session.identity, work)
