"""Posts of those who keep order in a room: what a client sends, checked, with the text that people read.

This module owns the data of each kind and their texts; its functions are pure but for the salt of a password. A client
must never choose the text of such a record, nor add data of its own.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_NAME, MAX_TIME, check_name
from parlour.wire.masks import check_mask
from parlour.wire.messages import Message
from parlour.wire.people import Person
from parlour.wire.records import EDIT, MODERATED, REACT
from parlour.wire.room_state import OWNER, ROLES

__all__ = [
    "FOUNDING",
    "SETTINGS",
    "StatePost",
    "cluster_operator_post",
    "deletion_post",
    "founding_post",
    "password_matches",
    "shown_time",
    "state_post",
]

FOUNDING = "founding"
"""The field of the record by which a new room gets its owner; the node alone writes it."""

MAX_TOPIC = 390
"""Longest topic, in characters: IRC shows no longer one."""

MAX_REASON = 256
"""Longest reason, in characters."""

MAX_FOR = 10 * 365 * 24 * 3600
"""Longest ban, in seconds."""

_ROUNDS = 50_000
"""Rounds of PBKDF2 for a room's password; members can read its hash in the log."""


class StatePost(NamedTuple):
    """What is logged: the text, and the data of the kind."""

    text: str
    data: dict[str, Any]


def state_post(kind: str, text: str, data: Mapping[str, Any], now_ms: int) -> StatePost:
    """Return what is logged for a client's post of a state kind; raises UsageError if something is wrong with it."""
    return _MAKERS[kind](text, data, now_ms)


def deletion_post(target: Message) -> StatePost:
    """Return what is logged if somebody else than its author deletes a record."""
    what = {EDIT: "an edit", REACT: "a reaction"}.get(target.kind, "a message")
    data = {MODERATED: True, "who": target.by, "account": target.account}
    return StatePost(f"deleted {what} of {target.by}", data)


def cluster_operator_post(text: str, data: Mapping[str, Any]) -> StatePost:
    """Return a post as one that only an operator of the cluster could make, so that everybody sees by what right."""
    return StatePost(f"{text} (as an operator of the cluster)", {**data, "cluster_operator": True})


def founding_post(person: Person) -> StatePost:
    """Return the record of the kind `role` by which the first account in a new room owns it."""
    return StatePost("founded the room", {"who": person.account, "role": OWNER, FOUNDING: True})


def password_matches(kept: str, password: str) -> bool:
    """Return whether a password is the one of which a room keeps this."""
    salt, _, _ = kept.partition("$")
    return hmac.compare_digest(kept, _kept(salt, password))


def shown_time(at: int) -> str:
    """Return a time in ms since the Unix epoch as people read it, in UTC."""
    moment = datetime.datetime.fromtimestamp(min(max(at, 0), MAX_TIME) / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _kept(salt: str, password: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(errors="surrogatepass"), salt.encode(), _ROUNDS)
    return f"{salt}${digest.hex()}"


def _line(what: str, text: str, longest: int) -> str:
    if len(text) > longest or not text.replace("\t", " ").isprintable():
        raise UsageError(f"a {what} is one line of at most {longest} characters")
    return text.strip()


def _name(data: Mapping[str, Any]) -> str:
    who = data.get("who")
    if not isinstance(who, str):
        raise UsageError("give the name of a person as `who`")
    return check_name(who)


def _topic(text: str, _: Mapping[str, Any], __: int) -> StatePost:
    topic = _line("topic", text, MAX_TOPIC)
    return StatePost(f"changed the topic to: {topic}" if topic else "removed the topic", {"topic": topic})


def _role(_: str, data: Mapping[str, Any], __: int) -> StatePost:
    who, role = _name(data), data.get("role")
    if role not in ROLES:
        raise UsageError(f"a role is one of {', '.join(map(repr, ROLES))}, not {role!r}")
    words = {"": f"took the role of {who}", "voice": f"gave voice to {who}", OWNER: f"made {who} the owner"}
    return StatePost(words.get(role, f"made {who} an operator of the room"), {"who": who, "role": role})


def _sanction(kind: str, text: str, data: Mapping[str, Any], now_ms: int) -> StatePost:
    who, reason, seconds = check_mask(data.get("who")), _line("reason", text, MAX_REASON), data.get("for", 0)
    if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_FOR:
        raise UsageError(f"`for` is a number of seconds from 0 (for ever) to {MAX_FOR}")
    until = now_ms + round(seconds * 1000) if seconds else 0
    end = f" until {shown_time(until)}" if until else ""
    why = f" ({reason})" if reason else ""
    return StatePost(f"{kind} {who}{end}{why}", {"who": who, "until": until, "reason": reason})


def _ban(text: str, data: Mapping[str, Any], now_ms: int) -> StatePost:
    return _sanction("banned", text, data, now_ms)


def _mute(text: str, data: Mapping[str, Any], now_ms: int) -> StatePost:
    return _sanction("muted", text, data, now_ms)


def _unban(_: str, data: Mapping[str, Any], __: int) -> StatePost:
    who = check_mask(data.get("who"))
    return StatePost(f"lifted the ban of {who}", {"who": who})


def _unmute(_: str, data: Mapping[str, Any], __: int) -> StatePost:
    who = check_mask(data.get("who"))
    return StatePost(f"let {who} speak again", {"who": who})


def _kick(text: str, data: Mapping[str, Any], _: int) -> StatePost:
    who, reason = _name(data), _line("reason", text, MAX_REASON)
    why = f" ({reason})" if reason else ""
    return StatePost(f"showed {who} out{why}", {"who": who, "reason": reason})


def _invite(_: str, data: Mapping[str, Any], __: int) -> StatePost:
    who = _name(data)
    return StatePost(f"invited {who}", {"who": who})


class _Setting(NamedTuple):
    """A setting: what its value may be, and what that means."""

    allowed: Callable[[Any], bool]
    what: str


def _one_of(*words: str) -> _Setting:
    return _Setting(lambda value: isinstance(value, str) and value in words, " or ".join(words))


def _number(longest: int, what: str) -> _Setting:
    return _Setting(lambda value: type(value) is int and 0 <= value <= longest, what)


_FLAG = _Setting(lambda value: isinstance(value, bool), "true or false")

SETTINGS = {
    "join": _one_of("anyone", "accounts", "invited"),
    "secret": _FLAG,
    "moderated": _FLAG,
    "topic": _one_of("operators", "members"),
    "invite": _one_of("operators", "members"),
    "password": _Setting(lambda value: isinstance(value, str) and len(value) <= MAX_NAME, "a text, empty for none"),
    "limit": _number(1_000_000, "a number of people, 0 for no limit"),
    "slow": _number(3600, "seconds from 0 to 3600"),
}
"""The settings of a room by name."""


def _setting(_: str, data: Mapping[str, Any], __: int) -> StatePost:
    name, value = data.get("name"), data.get("value")
    if not isinstance(name, str) or name not in SETTINGS:
        raise UsageError(f"a setting is one of {', '.join(SETTINGS)}, not {str(name)[:32]!r}")
    if not SETTINGS[name].allowed(value):
        raise UsageError(f"the setting {name} is {SETTINGS[name].what}")
    if name == "password":
        kept = _kept(secrets.token_hex(8), value) if value else ""
        return StatePost(
            "set a password for the room" if value else "removed the room's password", {"name": name, "value": kept}
        )
    shown = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    return StatePost(f"set {name} to {shown}", {"name": name, "value": value})


_MAKERS: dict[str, Callable[[str, Mapping[str, Any], int], StatePost]] = {
    "topic": _topic,
    "role": _role,
    "ban": _ban,
    "unban": _unban,
    "mute": _mute,
    "unmute": _unmute,
    "kick": _kick,
    "invite": _invite,
    "setting": _setting,
}
