"""The lines that a person may type in a chat: a text, or a command that begins with a slash.

This module owns the names of the commands and their parsing; it is pure. It must never run a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from parlour.client.fold import REDACTION
from parlour.client.moderation_commands import Moderate, ShowState, parse_moderation
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_room
from parlour.wire.records import ACTION, EDIT, REACT, REDACT, SAID, post_fault

__all__ = [
    "HELP",
    "NAMES",
    "About",
    "Announce",
    "Command",
    "Devices",
    "Help",
    "History",
    "Ignore",
    "Join",
    "Kill",
    "Leave",
    "Moderate",
    "Msg",
    "Nick",
    "Numbers",
    "Password",
    "Quit",
    "Register",
    "Rooms",
    "Say",
    "ShowState",
    "Who",
    "WhoIs",
    "parse",
]

MOST = 1000
"""Most old messages shown at once."""

HELP = """\
/join ROOM      enter a room, or switch to one you are in
/leave [ROOM]   leave this room, or another one
/who            show who is here
/history [N]    show N messages older than those shown (50)
/me waves       say what you do: * ada waves
/reply TEXT     answer another person's last message
/edit TEXT      give your last message another text
/delete         delete your last message
/react EMOJI    react to another person's last message, such as /react 👍
/numbers [N]    show the last N messages with numbers (20) to use as in
                /reply #7 TEXT, /edit #7 TEXT, /delete #7, /react #7 EMOJI
/msg NAME TEXT  talk with somebody alone; without a text, go to that talk
/rooms          show the rooms, with topics and people
/ignore NAME    show nothing of somebody, on all your devices; /unignore
/nick NAME      take another name; with an account, another display name
/register [CODE] make your name an account, perhaps with an invitation
/password       give your account another password
/devices        show the devices of your account; /devices revoke ID signs
                one of them out
/whois NAME     show who somebody is
/topic [TEXT]   show topic, roles and settings; set the topic (- removes it)
/op /deop /voice /devoice NAME   give or take a role
/kick NAME [REASON]              show somebody out
/ban NAME|PATTERN [for 2h] [REASON], /unban; /mute, /unmute likewise
/invite NAME    let somebody into a room that is for invited people
/mode [SETTING VALUE]            show or change the room's settings
/kill NAME [REASON], /announce TEXT   as an operator of the cluster: end all
                connections of somebody, say something to everybody
//text          send a text that begins with a slash
/help           show this help
/quit           leave (so do Ctrl-C and Ctrl-D)
Tab completes commands, rooms and names; Ctrl-Z puts the chat aside until `fg`"""

NAMES = tuple(dict.fromkeys(re.findall(r"(?<![/\w])/\w+", HELP)))
"""The commands as they are typed."""


@dataclass(frozen=True)
class Say:
    """Post this text in the current room, as a text or as an action."""

    text: str
    kind: str = SAID


@dataclass(frozen=True)
class About:
    """Post a record about a message: an answer (of the plain kind), an edit, a deletion or a reaction.

    `number` is the offset of the message; None means the last message that it can be about.
    """

    kind: str
    number: int | None
    text: str


@dataclass(frozen=True)
class Numbers:
    """Show the last messages of the current room with their numbers."""

    limit: int


@dataclass(frozen=True)
class Join:
    """Enter a room, or make it the current one."""

    room: str


@dataclass(frozen=True)
class Leave:
    """Leave a room; None means the current one."""

    room: str | None


@dataclass(frozen=True)
class Who:
    """Show who is in the current room."""


@dataclass(frozen=True)
class History:
    """Show older messages of the current room."""

    limit: int


@dataclass(frozen=True)
class Help:
    """Show the help."""


@dataclass(frozen=True)
class Quit:
    """Leave the chat."""


@dataclass(frozen=True)
class Msg:
    """Say a text to a person alone; without one, go to the private conversation."""

    name: str
    text: str


@dataclass(frozen=True)
class Rooms:
    """Show the listed rooms."""


@dataclass(frozen=True)
class Ignore:
    """Show nothing of a person any more, or show it again."""

    name: str
    ignored: bool


@dataclass(frozen=True)
class Nick:
    """Take another name, or display name."""

    name: str


@dataclass(frozen=True)
class Register:
    """Make the name an account; `code` is an invitation, perhaps empty."""

    code: str


@dataclass(frozen=True)
class Password:
    """Give the account another password."""


@dataclass(frozen=True)
class Devices:
    """Show the devices of the account, after one of them was signed out; empty: none."""

    revoked: str


@dataclass(frozen=True)
class Kill:
    """End all connections of a person, as an operator of the cluster."""

    name: str
    reason: str


@dataclass(frozen=True)
class Announce:
    """Say something to everybody, as an operator of the cluster."""

    text: str


@dataclass(frozen=True)
class WhoIs:
    """Show who somebody is."""

    name: str


Command = (
    Say
    | About
    | Numbers
    | Join
    | Leave
    | Who
    | History
    | Moderate
    | ShowState
    | Msg
    | Rooms
    | Ignore
    | Nick
    | Register
    | Password
    | Devices
    | Kill
    | Announce
    | WhoIs
    | Help
    | Quit
)

_NUMBER = re.compile(r"#([1-9][0-9]{0,15})(?:\s+|$)")

_PLAIN: dict[str, Command] = {
    "/who": Who(),
    "/help": Help(),
    "/quit": Quit(),
    "/password": Password(),
    "/rooms": Rooms(),
}


def parse(line: str) -> Command | None:
    """Return the command of a typed line, None if it is blank; raises UsageError with a hint if it is wrong."""
    if not line.strip():
        return None
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word == "/me":
        if not rest:
            raise UsageError("say what you do, such as /me waves")
        return Say(rest, ACTION)
    if word in ("/reply", "/edit"):
        number, text = _numbered(rest)
        if not text:
            raise UsageError(f"give the text, such as {word} yes or {word} #7 yes")
        return About(SAID if word == "/reply" else EDIT, number, text)
    if word == "/delete":
        number, text = _numbered(rest)
        if text:
            raise UsageError("name the message by its number, such as /delete #7 (/numbers shows it)")
        return About(REDACT, number, REDACTION)
    if word == "/react":
        return _react(rest)
    if word == "/join":
        if not rest:
            raise UsageError("name a room, such as /join lobby")
        return Join(check_room(rest))
    if word == "/leave":
        return Leave(check_room(rest) if rest else None)
    if word == "/history":
        return History(_count(word, rest, 50))
    if word == "/numbers":
        return Numbers(_count(word, rest, 20))
    if word == "/msg":
        name, _, text = rest.partition(" ")
        if not name:
            raise UsageError("name somebody, such as /msg bob hello")
        return Msg(name, text.strip())
    if word in ("/ignore", "/unignore"):
        if not rest or " " in rest:
            raise UsageError(f"name one person, such as {word} bob")
        return Ignore(rest, word == "/ignore")
    if word == "/register":
        return Register(rest)
    if word == "/devices":
        what, _, device = rest.partition(" ")
        if rest and (what != "revoke" or not device.strip()):
            raise UsageError("type /devices alone, or /devices revoke ID")
        return Devices(device.strip())
    if word == "/kill":
        name, _, reason = rest.partition(" ")
        if not name:
            raise UsageError("name somebody, such as /kill mallory no advertising")
        return Kill(name, reason.strip())
    if word == "/announce":
        if not rest:
            raise UsageError("give the text, such as /announce the cluster restarts at ten")
        return Announce(rest)
    if word in ("/nick", "/whois"):
        if not rest:
            raise UsageError(f"give a name, such as {word} bob")
        return Nick(rest) if word == "/nick" else WhoIs(rest)
    if (moderation := parse_moderation(word, rest)) is not None:
        return moderation
    plain = _PLAIN.get(word)
    if plain is None:
        raise UsageError(f"there is no command {word}: try /help, or /{word} to send it as a text")
    if rest:
        raise UsageError(f"type {word} alone")
    return plain


def _numbered(rest: str) -> tuple[int | None, str]:
    """Return the number at the beginning, written as #7, or None, and the rest."""
    found = _NUMBER.match(rest)
    return (None, rest) if found is None else (int(found[1]), rest[found.end() :])


def _react(rest: str) -> About:
    number, reaction = _numbered(rest)
    if len(reaction.split()) != 1:
        raise UsageError("give one emoji or word, such as /react 👍 or /react #7 👍")
    if fault := post_fault(REACT, 1, reaction):
        raise UsageError(fault)
    return About(REACT, number, reaction)


def _count(word: str, rest: str, usual: int) -> int:
    if rest and not (rest.isascii() and rest.isdigit() and 0 < int(rest[:9]) <= MOST):
        raise UsageError(f"say how many messages, 1 to {MOST}, such as {word} 20")
    return int(rest or usual)
