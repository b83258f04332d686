"""The handlers of asks about rooms: the state of one, and the list of all that are listed.

This module owns what they answer; it runs on the client's own thread. It must never tell of a secret room, nor of a
private conversation, to a person who is not in it.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from parlour.node.clients.asker import Asker, RefusedAskError
from parlour.node.log.room_states import state_of
from parlour.wire import ask_data
from parlour.wire.limits import DIRECT, check_room, is_direct
from parlour.wire.room_state import OWNER, Sanction
from parlour.wire.skeleton import skeleton

__all__ = ["rooms", "state"]

PAGE = 50
"""Rooms in one answer, at most."""

LOOKED = 1000
"""Rooms that are looked at for one answer, at most: many may be secret."""

BEHIND_DIRECT = f"{DIRECT}g"
"""A name behind those of all private conversations in the order of names: theirs have hexadecimal digits."""


def state(session: Asker, data: ask_data.State) -> dict[str, Any]:
    """Return the state of a room that the client is in."""
    room = session.room(check_room(data.room))
    if room is None:
        raise RefusedAskError("not_joined", f"you are not in {data.room}: join it first")
    known = room.state
    held = known.roles.get(skeleton(session.person.account)) if session.person.account else None
    return {
        "version": known.version,
        "topic": known.topic,
        "topic_by": known.topic_by,
        "topic_at": known.topic_at,
        "roles": {role.name: role.role for role in known.roles.values()},
        "owner": next((role.name for role in known.roles.values() if role.role == OWNER), ""),
        "role": held.role if held is not None else "",
        "settings": {**asdict(known.settings), "password": bool(known.settings.password)},
        "bans": [_told(each) for each in known.bans],
        "mutes": [_told(each) for each in known.mutes],
    }


def _told(sanction: Sanction) -> dict[str, Any]:
    return {name: getattr(sanction, name) for name in ("who", "until", "by", "reason")}


def rooms(session: Asker, data: ask_data.Rooms) -> dict[str, Any]:
    """Return listed rooms with their topics, and with the number of people where this node knows it."""
    log, found, after = session.context.log, list[dict[str, Any]](), data.after
    looked = 0
    while len(found) < PAGE and looked < LOOKED and (names := log.rooms(after, PAGE)):
        for name in names:
            if len(found) == PAGE:
                break
            looked, after = looked + 1, name
            if is_direct(name):
                # There may be thousands of them, and they stand together.
                after = BEHIND_DIRECT
                break
            known = state_of(log, name)
            here = session.context.rooms.get(name)
            if not known.settings.secret or session.room(name) is not None:
                found.append({"name": name, "topic": known.topic, "people": None if here is None else len(here.names)})
    # The last room that is told, since the next one may be secret.
    return {"rooms": found, "after": found[-1]["name"] if len(found) == PAGE else ""}
