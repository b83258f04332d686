"""The handlers of asks about what belongs to a person: private conversations, ignored people, read marks, unread posts.

This module owns what they answer; it runs on the client's own thread. It must never tell anybody of a conversation of
others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from parlour.directory.belongings import Belongings
from parlour.node.clients.asker import Asker, RefusedAskError
from parlour.node.log.room_states import state_of
from parlour.wire import ask_data
from parlour.wire.direct import account_identity, direct_room, guest_identity
from parlour.wire.limits import check_name, is_direct
from parlour.wire.mentions import find_mention
from parlour.wire.records import UTTERANCES
from parlour.wire.rights import may_join

__all__ = ["belongings", "direct", "ignore", "mark", "unignore", "unread"]

COUNTED = 500
"""Unread records of a room that are looked through, at most; of more it is only known that they are there."""


def direct(session: Asker, data: ask_data.Direct) -> dict[str, Any]:
    """Open the private conversation with a person, who is told, and return its room."""
    name, people = check_name(data.name), session.context.people
    account = people.directory.accounts.get(name)
    guest = None if account is not None else people.directory.names.holder(name)
    if account is None and guest is None:
        raise RefusedAskError("no_person", f"nobody here has the name {name}")
    if account is not None:
        other, shown = account_identity(account.name), account.name
    else:
        assert guest is not None
        other, shown = guest_identity(guest.session), guest.name
    room = direct_room(session.identity, other)
    mine = session.person.name
    for identity, partner in {other: mine, session.identity: shown}.items():
        people.directory.belongings.change(identity, partial(_with, room=room, partner=partner))
        session.context.news.tell(identity, "direct", {"room": room, "name": partner})
    return {"room": room, "name": shown}


def _with(kept: Belongings, *, room: str, partner: str) -> Belongings:
    return replace(kept, conversations={**kept.conversations, room: partner})


def ignore(session: Asker, data: ask_data.Ignore) -> dict[str, Any]:
    """Ignore a person, on all devices."""
    name = check_name(data.name)

    def change(kept: Belongings) -> Belongings:
        return replace(kept, ignored=(*(each for each in kept.ignored if each != name), name))

    return _changed(session, change)


def unignore(session: Asker, data: ask_data.Ignore) -> dict[str, Any]:
    """Ignore a person no more."""
    name = check_name(data.name)
    return _changed(session, lambda kept: replace(kept, ignored=tuple(each for each in kept.ignored if each != name)))


def mark(session: Asker, data: ask_data.Mark) -> dict[str, Any]:
    """Note up to which offset a room is read, and tell the other devices; a mark never goes back."""

    def change(kept: Belongings) -> Belongings:
        before = kept.rooms.get(data.room)
        if before is None or before >= data.offset:
            return kept
        return replace(kept, rooms={**kept.rooms, data.room: data.offset})

    _check_account(session)
    kept = session.context.people.directory.belongings.change(session.identity, change)
    session.context.news.tell(session.identity, "mark", {"room": data.room, "offset": kept.rooms.get(data.room, 0)})
    return {}


def belongings(session: Asker, _: ask_data.Mine) -> dict[str, Any]:
    """Return what belongs to the client."""
    kept = session.context.people.directory.belongings.get(session.identity)
    return {"rooms": list(kept.rooms), "conversations": kept.conversations, "ignored": list(kept.ignored)}


def unread(session: Asker, _: ask_data.Unread) -> dict[str, Any]:
    """Return, for each room of the account with unread records, how many there are and how many name the person."""
    _check_account(session)
    kept = session.context.people.directory.belongings.get(session.identity)
    counts = {room: _count(session, room, offset) for room, offset in kept.rooms.items()}
    return {"rooms": {room: count for room, count in counts.items() if count is not None}}


def _count(session: Asker, room: str, offset: int) -> dict[str, int] | None:
    log, person = session.context.log, session.person
    if not is_direct(room) and may_join(state_of(log, room), person, "", 0, log.now()) is not None:
        return None
    records = [
        record
        for record in log.read(room, offset, COUNTED)
        if record.kind in UTTERANCES and (record.account or record.by) != (person.account or person.name)
    ]
    if not records:
        return None
    mentions = sum(find_mention(record.text, (person.name, person.display)) is not None for record in records)
    return {"unread": len(records), "mentions": mentions}


def _changed(session: Asker, change: Callable[[Belongings], Belongings]) -> dict[str, Any]:
    kept = session.context.people.directory.belongings.change(session.identity, change)
    session.context.news.tell(session.identity, "ignored", {"names": list(kept.ignored)})
    return {"ignored": list(kept.ignored)}


def _check_account(session: Asker) -> None:
    if not session.person.account:
        raise RefusedAskError("no_account", "only an account has rooms and marks that are kept: register, or sign in")
