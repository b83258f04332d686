"""The commands of moderators in a chat, such as /ban bob for 2h spam.

This module owns their names and parsing; it is pure. It must never judge who may do what: the node does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from parlour.wire.errors import UsageError

__all__ = ["Moderate", "ShowState", "parse_moderation"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_TIME = re.compile(r"for\s+([0-9]{1,6})([smhd])(?:\s+|$)")


@dataclass(frozen=True)
class Moderate:
    """Post a record that changes the current room; the fields are as in `wire.state_posts`."""

    kind: str
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ShowState:
    """Show the topic, roles and settings of the current room."""


_ROLES = {"/op": "operator", "/deop": "", "/voice": "voice", "/devoice": "", "/owner": "owner"}
_SANCTIONS = {"/ban": "ban", "/mute": "mute"}
_NAMED = {"/unban": "unban", "/unmute": "unmute", "/invite": "invite"}


def parse_moderation(word: str, rest: str) -> Moderate | ShowState | None:
    """Return the command of a word and what follows it, None if it is none of these; raises UsageError with a hint."""
    if word == "/topic":
        return Moderate("topic", "" if rest == "-" else rest) if rest else ShowState()
    if word == "/mode":
        return _mode(rest) if rest else ShowState()
    if word in _ROLES:
        return Moderate("role", "", {"who": _one(word, rest), "role": _ROLES[word]})
    if word in _NAMED:
        return Moderate(_NAMED[word], "", {"who": _one(word, rest)})
    if word == "/kick":
        who, reason = _first(word, rest)
        return Moderate("kick", reason, {"who": who})
    if word in _SANCTIONS:
        who, rest = _first(word, rest)
        found = _TIME.match(rest)
        seconds = int(found[1]) * _UNITS[found[2]] if found else 0
        return Moderate(_SANCTIONS[word], rest[found.end() :] if found else rest, {"who": who, "for": seconds})
    return None


def _first(word: str, rest: str) -> tuple[str, str]:
    who, _, more = rest.partition(" ")
    if not who:
        raise UsageError(f"name somebody, such as {word} bob")
    return who, more.strip()


def _one(word: str, rest: str) -> str:
    who, more = _first(word, rest)
    if more:
        raise UsageError(f"name one person, such as {word} {who}")
    return who


def _mode(rest: str) -> Moderate:
    name, _, text = rest.partition(" ")
    text = text.strip()
    values: dict[str, Any] = {"on": True, "yes": True, "off": False, "no": False}
    if not text and name != "password":
        raise UsageError(f"give a value, such as /mode {name} on, or type /mode alone to see all")
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else values.get(text, text)
    return Moderate("setting", "", {"name": name, "value": text if name == "password" else value})
