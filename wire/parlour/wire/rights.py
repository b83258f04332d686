"""The rights in a room: who may post what, and who may come in, by the room's state.

This module owns the rules; its functions are pure. A person without the right must never change the state, and nothing
may lock the owner out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from parlour.wire.masks import mask_hits
from parlour.wire.messages import Message
from parlour.wire.people import Person
from parlour.wire.records import STATE_KINDS, is_moderation
from parlour.wire.room_state import EMPTY, MAX_ENTRIES, MAX_STATE, OWNER, ROLES, RoomState, Sanction, fold
from parlour.wire.skeleton import skeleton
from parlour.wire.state_posts import FOUNDING, password_matches, shown_time

__all__ = ["MEMBER", "JoinFault", "judge", "may_join", "name_fault", "rank_of", "removal"]

MEMBER, VOICE, OPERATOR, OWNING, CLUSTER = range(5)
"""The ranks, the lowest first; an operator of the cluster stands above the owner."""


MARGIN = 4096
"""Bytes of a state that are left for its topic and settings."""

ENDED = 60_000
"""Ms since which a ban has ended that makes room for another: a post is folded with the time at which it came."""


class JoinFault(NamedTuple):
    """Why somebody may not join or stay: a code for programs, and a line for people."""

    code: str
    text: str


def rank_of(state: RoomState, person: Person) -> int:
    """Return the rank of a person in a room."""
    if person.operator:
        return CLUSTER
    held = state.roles.get(skeleton(person.account)) if person.account else None
    return ROLES.index(held.role) if held is not None and held.role in ROLES else MEMBER


def judge(state: RoomState, person: Person, kind: str, data: Mapping[str, Any], now_ms: int) -> str:
    """Return why a person may not post a record of this kind, in a line that says who could; "" if it may.

    `data` is that of `state_post` or `deletion_post`; `now_ms` is in ms since the Unix epoch.
    """
    rank = rank_of(state, person)
    if kind in STATE_KINDS:
        return _judge_change(state, person, rank, kind, data, now_ms)
    silence = _silence(state, person, rank, now_ms)
    return silence or (_judge_deletion(state, rank, data) if is_moderation(kind, data) else "")


def may_join(state: RoomState, person: Person, password: str, present: int, now_ms: int) -> JoinFault | None:
    """Return why a person may not join a room in which `present` people are; None if it may."""
    if rank_of(state, person) >= OWNING:
        return None
    banned = _sanction(state, state.bans, person, now_ms)
    if banned is not None:
        return JoinFault("banned", f"you are banned from this room{_until(banned)}{_reason(banned)}: {_ask(state)}")
    if rank_of(state, person) >= VOICE or {skeleton(person.name), skeleton(person.account)} & set(state.invited):
        return None
    settings = state.settings
    if settings.join == "invited":
        return JoinFault("invite_only", f"only invited people may join this room: {_ask(state)}")
    if settings.join == "accounts" and not person.account:
        return JoinFault("accounts_only", "only people with an account may join this room: sign in")
    if settings.password and not password_matches(settings.password, password):
        return JoinFault("bad_key", "this room needs a password: give it when you join")
    if 0 < settings.limit <= present:
        return JoinFault("room_full", f"this room takes {settings.limit} people: try again later")
    return None


def name_fault(state: RoomState, room: str, person: Person, name: str, now_ms: int) -> str:
    """Return why a guest that is in a room may not take another name; "" if it may.

    A guest is banned and muted by its name, so it must not leave that behind. What hits the other name as well, or the
    address, stays with it anyway.
    """
    if person.account:
        return ""
    other = replace(person, name=name)
    for sanctions, word in ((state.bans, "banned from"), (state.mutes, "muted in")):
        for each in sanctions:
            if not 0 < each.until <= now_ms and mask_hits(each.who, person) and not mask_hits(each.who, other):
                return f"you are {word} {room}{_until(each)}: a guest's name stays then"
    return ""


def removal(state: RoomState, person: Person, record: Message) -> JoinFault | None:
    """Return why a record shows a person out, who is in the room; None if it does not. `state` is that after it."""
    who = str(record.data.get("who", ""))
    if record.kind == "kick" and skeleton(who) in (skeleton(person.name), skeleton(person.account)):
        return JoinFault("kicked", f"{record.by} {record.text}")
    if record.kind == "ban" and _touches(state, who, person):
        return JoinFault("banned", f"{record.by} {record.text}")
    return None


def _silence(state: RoomState, person: Person, rank: int, now_ms: int) -> str:
    """Return why a person may not say anything; "" if it may."""
    if rank >= OWNING:
        return ""
    for sanctions, word in ((state.bans, "banned from"), (state.mutes, "muted in")):
        found = _sanction(state, sanctions, person, now_ms)
        if found is not None:
            return f"you are {word} this room{_until(found)}{_reason(found)}: {_ask(state)}"
    if state.settings.moderated and rank < VOICE:
        return f"this room is moderated: only people with a role may post, {_ask(state)}"
    return ""


def _judge_change(state: RoomState, person: Person, rank: int, kind: str, data: Mapping[str, Any], now_ms: int) -> str:
    if data.get(FOUNDING):
        return "" if state == EMPTY and person.account else "this room is not new: it can have no other founder"
    silence = _silence(state, person, rank, now_ms)
    if silence:
        return silence
    if kind == "topic" and (not state.owner or state.settings.topic == "members"):
        return ""
    if kind == "invite" and state.settings.invite == "members" and state.owner:
        return _room_left(state, person, kind, data, now_ms)
    if kind == "role":
        return _judge_role(state, person, rank, data) or _room_left(state, person, kind, data, now_ms)
    if rank < OPERATOR:
        return f"only an operator of this room can {_ACTS[kind]}: {_ask(state)}"
    if kind in ("ban", "mute", "kick"):
        fault = _judge_target(state, person, rank, kind, str(data.get("who", "")))
        return fault or _room_left(state, person, kind, data, now_ms)
    return _room_left(state, person, kind, data, now_ms) if kind == "invite" else ""


def _judge_role(state: RoomState, person: Person, rank: int, data: Mapping[str, Any]) -> str:
    who, role = skeleton(str(data.get("who", ""))), str(data.get("role", ""))
    held = state.roles[who].role if who in state.roles else ""
    if role not in ROLES:
        return f"a role is one of {', '.join(filter(None, ROLES))}"
    if held == OWNER and role != OWNER:
        return "the owner keeps that role: an owner passes it on by making somebody else the owner"
    if person.account and who == skeleton(person.account) and ROLES.index(role) < ROLES.index(held):
        return ""  # anybody may step down
    needed = OPERATOR if {role, held} <= {"", "voice"} else OWNING
    if rank >= needed:
        return ""
    able = "the owner" if needed == OWNING else "an operator"
    return f"only {able} of this room can give or take this role: {_ask(state)}"


def _judge_target(state: RoomState, person: Person, rank: int, kind: str, who: str) -> str:
    held = state.roles.get(skeleton(who))
    if held is None or rank > ROLES.index(held.role):
        return ""
    return f"you cannot {kind} {who}, who has the role {held.role}: {_ask(state)}"


def _judge_deletion(state: RoomState, rank: int, data: Mapping[str, Any]) -> str:
    """Return why a person may not delete a record of somebody else; "" if it may."""
    if rank < OPERATOR:
        return f"only its author and the operators of this room can delete this: {_ask(state)}"
    account = skeleton(str(data.get("account", "")))
    held = state.roles.get(account) if account else None
    if held is None or rank > ROLES.index(held.role):
        return ""
    return f"you cannot delete what {held.name} said, who has the role {held.role}: {_ask(state)}"


def _room_left(state: RoomState, person: Person, kind: str, data: Mapping[str, Any], now_ms: int) -> str:
    """Return why the state cannot take this change; "" if it can. It can always take one that makes it no larger.

    Invitations get half of the bytes, since all members may be let invite: they must leave room for bans.
    """
    after = fold(state, Message("", state.version, "", person.name, now_ms - ENDED, "", kind, data=dict(data)))
    try:
        size = len(after.encode())
    except (ValueError, OverflowError):
        return "the room cannot keep this text or number: give another"
    most = MAX_STATE // 2 if kind == "invite" else MAX_STATE - MARGIN
    grown = ((len(old), len(new)) for old, new in zip(_parts(state), _parts(after), strict=True))
    if any(new > max(old, MAX_ENTRIES) for old, new in grown) or most < size > len(state.encode()):
        return "this room has as many roles, bans, mutes and invitations as it can keep: lift some, or use patterns"
    return ""


def _parts(state: RoomState) -> tuple[Collection[object], ...]:
    return state.roles, state.bans, state.mutes, state.invited


def _sanction(state: RoomState, sanctions: tuple[Sanction, ...], person: Person, now_ms: int) -> Sanction | None:
    held = (each for each in sanctions if not 0 < each.until <= now_ms)
    return next((each for each in held if _touches(state, each.who, person)), None)


def _touches(state: RoomState, mask: str, person: Person) -> bool:
    """Return whether a ban or mute counts for a person.

    Operators are hit by name alone: so none can silence another by a pattern or an address, and only the owner can.
    """
    rank = rank_of(state, person)
    if rank >= OPERATOR:
        return rank == OPERATOR and skeleton(mask) == skeleton(person.account)
    return mask_hits(mask, person)


def _until(sanction: Sanction) -> str:
    return f" until {shown_time(sanction.until)}" if sanction.until else ""


def _reason(sanction: Sanction) -> str:
    return f" ({sanction.reason})" if sanction.reason else ""


def _ask(state: RoomState) -> str:
    """Return who could: the owner, or the operators of the cluster."""
    owner = state.roles.get(state.owner)
    return f"ask {owner.name}" if owner is not None else "ask an operator of the cluster"


_ACTS = {
    "topic": "set the topic",
    "ban": "ban people",
    "unban": "lift bans",
    "mute": "mute people",
    "unmute": "let muted people speak",
    "invite": "invite people",
    "setting": "change its settings",
    "kick": "show people out",
}
"""What each kind does, after "only an operator of this room can"."""
