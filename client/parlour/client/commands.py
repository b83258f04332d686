"""What a person may type in a chat: a text to say, or a command that begins with a slash.

This module owns the commands' names and their reading; it is pure. It must never do what a command says.
"""

from __future__ import annotations

from dataclasses import dataclass

from parlour.wire.errors import UsageError
from parlour.wire.limits import check_room

__all__ = ["HELP", "NAMES", "Command", "Help", "History", "Join", "Leave", "Quit", "Say", "Who", "parse"]

MOST = 1000
"""Old messages shown at once."""

HELP = """\
/join ROOM      enter a room, or turn to one you are in
/leave [ROOM]   leave this room, or another
/who            who is here
/history [N]    show the last N messages from before those shown (50)
/me waves       tell what you do: * ada waves
//text          say a text that begins with a slash
/help           show this
/quit           leave (so do Ctrl-C and Ctrl-D)
Tab completes commands, rooms and names; Ctrl-Z puts the chat aside until `fg`"""

NAMES = tuple(line.split()[0] for line in HELP.splitlines() if line.startswith("/") and not line.startswith("//"))
"""The commands, as they are typed."""


@dataclass(frozen=True)
class Say:
    """Say this in the current room."""

    text: str


@dataclass(frozen=True)
class Join:
    """Enter a room, or make it the current one."""

    room: str


@dataclass(frozen=True)
class Leave:
    """Leave a room; None is the current one."""

    room: str | None


@dataclass(frozen=True)
class Who:
    """Show who is in the current room."""


@dataclass(frozen=True)
class History:
    """Show so many older messages of the current room."""

    limit: int


@dataclass(frozen=True)
class Help:
    """Show what may be typed."""


@dataclass(frozen=True)
class Quit:
    """Leave the chat."""


Command = Say | Join | Leave | Who | History | Help | Quit

_PLAIN: dict[str, Command] = {"/who": Who(), "/help": Help(), "/quit": Quit()}


def parse(line: str) -> Command | None:
    """Return what a typed line asks for, None if it is blank; raises UsageError with a hint if it is no command."""
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
        return Say(line)
    if word == "/join":
        if not rest:
            raise UsageError("name a room, such as /join lobby")
        return Join(check_room(rest))
    if word == "/leave":
        return Leave(check_room(rest) if rest else None)
    if word == "/history":
        if rest and not (rest.isascii() and rest.isdigit() and 0 < int(rest[:9]) <= MOST):
            raise UsageError(f"say how many messages, 1 to {MOST}, such as /history 20")
        return History(int(rest or 50))
    plain = _PLAIN.get(word)
    if plain is None:
        raise UsageError(f"there is no command {word}: try /help, or //… to say a text that begins with a slash")
    if rest:
        raise UsageError(f"{word} stands alone")
    return plain
