"""The posts of one client: the checks that need no room state, and the records that they become.

This module owns the highest id of the client's posts; the client's own thread runs it. It must never leave a refused
post without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parlour.node.log import LogError, Post, RichPost
from parlour.node.rooms.judgement import change_post
from parlour.node.rooms.room import Room
from parlour.wire.errors import UsageError
from parlour.wire.limits import WINDOW
from parlour.wire.messages import Error, NodeMessage, Say
from parlour.wire.people import Person
from parlour.wire.records import STATE_KINDS, UTTERANCES, post_fault, reference_fault, session_of_id

__all__ = ["PostDesk"]


class PostDesk:
    """The posts of one client."""

    def __init__(self, answer: Callable[[NodeMessage], object]) -> None:
        """Tell the client by `answer` which posts are refused."""
        self._answer = answer
        self._highest_id = 0

    def take(self, room: Room, says: Sequence[Say], session: str, person: Person, at: int) -> list[Post]:
        """Return what of these posts may go to the room, as said by this person at `at` (ms since the Unix epoch)."""
        for say in says:
            if say.id > self._highest_id:
                self._highest_id = say.id
            elif say.id <= self._highest_id - WINDOW:
                says = self._refuse_stale(room.name, says)
                break
        name, account = person.name, person.account
        # Plain posts come in masses, so none of them costs a call.
        made = [
            self._checked(room, say, session, person, at)
            if say.kind or say.ref or say.data
            else RichPost(session, say.id, name, at, say.text, account=account)
            if account
            else Post(session, say.id, name, at, say.text)
            for say in says
        ]
        return [post for post in made if post]

    def _checked(self, room: Room, say: Say, session: str, person: Person, at: int) -> Post | None:
        """Return the post that may go to the room; else tell the client why it may not, and return None."""
        fault, code, again = post_fault(say.kind, say.ref, say.text), "bad_kind", None
        if say.kind in STATE_KINDS:
            try:
                return change_post(session, person, say, at)
            except UsageError as error:
                fault = str(error)
        elif not fault and say.kind not in UTTERANCES:
            try:
                fault, code = _reference_fault(room, say, session, person.account), "bad_ref"
            except LogError as error:
                fault, code, again = str(error), "unavailable", 1.0
        if not fault:
            return RichPost(session, say.id, person.name, at, say.text, say.kind, say.ref, person.account, say.data)
        self._answer(Error(code, fault, room.name, say.id, again))
        return None

    def _refuse_stale(self, room: str, says: Sequence[Say]) -> list[Say]:
        """Refuse posts whose ids are far below the highest: the log would have to search all its records for them."""
        self._highest_id = max(self._highest_id, *(say.id for say in says))
        least = self._highest_id - WINDOW
        for say in says:
            if say.id <= least:
                text = f"the id {say.id} is {WINDOW} or more below the highest one used: count ids up"
                self._answer(Error("stale_id", text, room, say.id))
        return [say for say in says if say.id > least]


def _reference_fault(room: Room, say: Say, session: str, account: str) -> str:
    """Return why a post may not refer to the record in its `ref`; empty if it may. Raises LogError."""
    target = room.message(say.ref)
    mine = target is not None and (session_of_id(target.id) == session or (bool(account) and target.account == account))
    fault = reference_fault(say.kind, target.kind if target is not None else None, mine)
    return fault and f"record {say.ref} {fault}"
