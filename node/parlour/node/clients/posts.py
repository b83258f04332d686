"""The posts of one client: the checks that need no room state, and the records that they become.

This module owns the highest id of the client's posts; the client's own thread runs it. It must never leave a refused
post without an answer, nor let an operator of the cluster act without an entry in the trail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from parlour.directory.directory import Directory
from parlour.directory.store import DirectoryError
from parlour.node.clients.targets import checked_target
from parlour.node.log import LogError, Post, RichPost
from parlour.node.people.refusal import RefusedClientError
from parlour.node.rooms.judgement import change_post
from parlour.node.rooms.room import Room
from parlour.wire.errors import UsageError
from parlour.wire.limits import WINDOW, is_direct
from parlour.wire.messages import Error, Message, NodeMessage, Say
from parlour.wire.people import Person
from parlour.wire.records import MODERATED, REDACT, STATE_KINDS, UTTERANCES, post_fault, reference_fault, session_of_id
from parlour.wire.state_posts import deletion_post

__all__ = ["PostDesk"]


class PostDesk:
    """The posts of one client."""

    def __init__(self, answer: Callable[[NodeMessage], object], directory: Directory) -> None:
        """Tell the client by `answer` which posts are refused; note in the trail what operators of the cluster do."""
        self._answer = answer
        self._directory = directory
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
        try:
            if not fault:
                code = "bad_kind" if say.kind in STATE_KINDS else "bad_ref"
                return self._made(room, say, session, person, at)
        except RefusedClientError as refused:
            fault, code = str(refused), refused.code
        except UsageError as error:
            fault = str(error)
        except (DirectoryError, LogError) as error:
            fault, code, again = str(error), "unavailable", 1.0
        self._answer(Error(code, fault, room.name, say.id, again))
        return None

    def _made(self, room: Room, say: Say, session: str, person: Person, at: int) -> RichPost:
        """Return the post that is logged; raises UsageError, RefusedClientError, DirectoryError, LogError."""
        post = RichPost(session, say.id, person.name, at, say.text, say.kind, say.ref, person.account, say.data)
        if say.kind in UTTERANCES:
            return post
        if say.kind in STATE_KINDS:
            post = change_post(session, person, checked_target(room, self._directory.accounts, say), at)
        else:
            target = room.message(say.ref)
            mine = target is not None and _is_author(target, session, person.account)
            fault = reference_fault(say.kind, target.kind if target is not None else None, mine)
            if not fault and say.kind == REDACT and not mine and is_direct(room.name):
                fault = "is not yours: only its author may delete it"
            if fault or target is None:
                raise UsageError(f"record {say.ref} {fault}")
            if say.kind != REDACT:
                return post
            if mine:
                return replace(post, data={name: value for name, value in say.data.items() if name != MODERATED})
            text, data = deletion_post(target)
            post = replace(post, text=text, data=data)
        if person.operator:
            did = {"room": room.name, "did": post.text, "record": say.ref}
            self._directory.trail.add("acted in a room", person.name, did)
        return post

    def _refuse_stale(self, room: str, says: Sequence[Say]) -> list[Say]:
        """Refuse posts whose ids are far below the highest: the log would have to search all its records for them."""
        self._highest_id = max(self._highest_id, *(say.id for say in says))
        least = self._highest_id - WINDOW
        for say in says:
            if say.id <= least:
                text = f"the id {say.id} is {WINDOW} or more below the highest one used: count ids up"
                self._answer(Error("stale_id", text, room, say.id))
        return [say for say in says if say.id > least]


def _is_author(target: Message, session: str, account: str) -> bool:
    return session_of_id(target.id) == session or (bool(account) and target.account == account)
