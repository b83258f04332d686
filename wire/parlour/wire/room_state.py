"""The state of a room: topic, settings, roles, bans, mutes and invitations, as the fold of its state records.

This module owns the document and the fold; its functions are pure. The fold must never judge: what is logged was
allowed, and `rights` judges before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from parlour.wire.errors import ProtocolError
from parlour.wire.limits import MAX_TIME
from parlour.wire.messages import Message
from parlour.wire.skeleton import skeleton

__all__ = ["EMPTY", "MAX_ENTRIES", "MAX_STATE", "OWNER", "ROLES", "Role", "RoomState", "Sanction", "Settings", "fold"]

MAX_ENTRIES = 1000
"""Roles of a room, at most; and so many bans, mutes and invitations."""

MAX_STATE = 64 * 1024
"""Bytes of an encoded state, at most."""

OWNER = "owner"
ROLES = ("", "voice", "operator", OWNER)
"""The roles, the lowest first; members without a role have the empty one."""


class Role(Struct, frozen=True, array_like=True):
    """The role of an account, with its name as it is shown."""

    name: str
    role: str


class Sanction(Struct, frozen=True, array_like=True):
    """A ban or a mute: the mask, when it ends (ms since the Unix epoch, 0: never), who imposed it, and why."""

    who: str
    until: int
    by: str
    reason: str


class Settings(Struct, frozen=True, omit_defaults=True):
    """The settings of a room.

    Attributes:
        join: who may join: "anyone", "accounts" or "invited".
        secret: whether the room is left out of lists.
        moderated: whether only people with a role may post.
        topic: who may set the topic: "operators" or "members".
        invite: who may invite: "operators" or "members".
        password: what is kept of the password that newcomers need; empty if they need none.
        limit: the largest number of people in the room; 0 for no limit.
        slow: seconds between two posts of a member; 0 for no pause.
    """

    join: str = "anyone"
    secret: bool = False
    moderated: bool = False
    topic: str = "operators"
    invite: str = "operators"
    password: str = ""
    limit: int = 0
    slow: int = 0


class RoomState(Struct, frozen=True, omit_defaults=True):
    """The state of a room after the state record at offset `version`; 0 if it has none.

    Attributes:
        owner: the skeleton of the owner's account; empty if the room has no owner.
        roles: the roles by skeleton of the account, with the owner's.
        invited: the skeletons of the names that are invited.
    """

    version: int = 0
    owner: str = ""
    roles: dict[str, Role] = {}
    topic: str = ""
    topic_by: str = ""
    topic_at: int = 0
    settings: Settings = Settings()
    bans: tuple[Sanction, ...] = ()
    mutes: tuple[Sanction, ...] = ()
    invited: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether anybody may post any text, so that posts need not be judged one by one."""
        return not (self.bans or self.mutes or self.settings.moderated)

    def encode(self) -> bytes:
        """Return the document."""
        return _encode(self)

    @classmethod
    def decode(cls, document: bytes) -> RoomState:
        """Return the state in a document; raises ProtocolError if it is damaged."""
        try:
            return _decoder.decode(document)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"the state of a room cannot be read: {error}", "bad_state") from None


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(RoomState)

EMPTY = RoomState()


def fold(state: RoomState, record: Message) -> RoomState:
    """Return the state after a record; a record that is not understood changes the version alone."""
    try:
        changed = _changed(state, record, record.data)
    except (KeyError, TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        changed = state
    return replace(changed, version=record.offset)


def _changed(state: RoomState, record: Message, data: Mapping[str, Any]) -> RoomState:
    match record.kind:
        case "topic":
            return replace(state, topic=str(data["topic"]), topic_by=record.by, topic_at=record.at)
        case "role":
            return _with_role(state, str(data["who"]), str(data["role"]))
        case "ban":
            return replace(state, bans=_imposed(state.bans, record, data))
        case "unban":
            return replace(state, bans=_lifted(state.bans, str(data["who"])))
        case "mute":
            return replace(state, mutes=_imposed(state.mutes, record, data))
        case "unmute":
            return replace(state, mutes=_lifted(state.mutes, str(data["who"])))
        case "invite":
            name = skeleton(str(data["who"]))
            return replace(state, invited=(*(each for each in state.invited if each != name), name))
        case "setting":
            settings = {**msgspec.structs.asdict(state.settings), str(data["name"]): data["value"]}
            return replace(state, settings=msgspec.convert(settings, Settings))
    return state


def _with_role(state: RoomState, who: str, role: str) -> RoomState:
    if role not in ROLES:
        return state
    key = skeleton(who)
    roles = {other: kept for other, kept in state.roles.items() if other != key}
    if role:
        roles[key] = Role(who, role)
    if role != OWNER:
        return replace(state, roles=roles, owner="" if state.owner == key else state.owner)
    if state.owner and state.owner != key:
        roles[state.owner] = Role(state.roles[state.owner].name, "operator")  # the former owner
    return replace(state, roles=roles, owner=key)


def _imposed(known: tuple[Sanction, ...], record: Message, data: Mapping[str, Any]) -> tuple[Sanction, ...]:
    """Return the sanctions with a new one, without the one that it replaces and those that have ended."""
    until = min(max(int(data.get("until", 0)), 0), MAX_TIME)
    new = Sanction(str(data["who"]), until, record.by, str(data.get("reason", "")))
    kept = (each for each in known if not 0 < each.until <= record.at and skeleton(each.who) != skeleton(new.who))
    return (*kept, new)


def _lifted(known: tuple[Sanction, ...], who: str) -> tuple[Sanction, ...]:
    return tuple(each for each in known if skeleton(each.who) != skeleton(who))
