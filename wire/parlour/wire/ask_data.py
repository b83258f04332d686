"""The data of asks: one class for each word that a client may ask, with its fields and their checks.

This module is pure; any thread may use it. It must never know who asks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from parlour.wire.limits import MAX_NAME, Count
from parlour.wire.root import Secret

__all__ = [
    "Announce",
    "Devices",
    "Direct",
    "Ignore",
    "Invite",
    "Kick",
    "MakeToken",
    "Mark",
    "Mine",
    "NewPassword",
    "Nick",
    "Register",
    "Revoke",
    "Rooms",
    "State",
    "Unread",
    "WhoAmI",
    "WhoIs",
]

_Line = Annotated[str, Meta(max_length=MAX_NAME)]
"""A name, or another short text."""


class WhoAmI(Struct, frozen=True):
    """`whoami`: who am I here?"""


class WhoIs(Struct, frozen=True):
    """`whois`: who has this name?"""

    name: _Line


class Nick(Struct, frozen=True):
    """`nick`: give me another name if I am a guest, another display name if I have an account."""

    name: _Line


class Register(Struct, frozen=True):
    """`register`: make my name an account with this password."""

    password: Secret
    invitation: Secret = ""


class NewPassword(Struct, frozen=True):
    """`password`: give my account a new password; `old` is the present one."""

    new: Secret
    old: Secret = ""


class MakeToken(Struct, frozen=True):
    """`token`: give this device a token with which it signs in; `label` names the device."""

    label: _Line = ""


class Devices(Struct, frozen=True):
    """`devices`: which devices have a token for my account?"""


class Revoke(Struct, frozen=True):
    """`revoke`: make the token of this device void; `id` is as in the answer to `devices`."""

    id: _Line


class Invite(Struct, frozen=True):
    """`invite`: give me an invitation for one person, with which it can make an account."""


class Direct(Struct, frozen=True):
    """`direct`: open the private conversation with the person of this name."""

    name: _Line


class Ignore(Struct, frozen=True):
    """`ignore` and `unignore`: show me nothing of this person, or show it again."""

    name: _Line


class Mark(Struct, frozen=True):
    """`mark`: I have read this room up to this offset."""

    room: _Line
    offset: Count


class Mine(Struct, frozen=True):
    """`belongings`: which rooms and conversations are mine, and whom do I ignore?"""


class Unread(Struct, frozen=True):
    """`unread`: what is new in my rooms?"""


class Kick(Struct, frozen=True):
    """`kick`: end all connections of this account or guest, and tell it why."""

    name: _Line
    reason: str = ""


class Announce(Struct, frozen=True):
    """`announce`: tell everybody who is connected."""

    text: str


class State(Struct, frozen=True):
    """`state`: what are the topic, the roles and the settings of this room?"""

    room: _Line


class Rooms(Struct, frozen=True):
    """`rooms`: which rooms are listed, after this name?"""

    after: _Line = ""
