"""The limits of the language for names, rooms, texts and addresses, and the functions that check them.

This module owns every limit of a peer's input; its functions are pure and may run on any thread. It must never accept
more than docs/protocol.md promises to accept.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache, partial
from typing import Annotated

from msgspec import Meta

from parlour.wire.errors import UsageError

__all__ = [
    "DIRECT",
    "LEADING",
    "MAX_COUNT",
    "MAX_DEPTH",
    "MAX_FRAME",
    "MAX_NAME",
    "MAX_QUESTIONS",
    "MAX_TEXT",
    "MAX_TIME",
    "PROTOCOL",
    "WINDOW",
    "Count",
    "Figure",
    "Moment",
    "Place",
    "Seconds",
    "check_name",
    "check_older_name",
    "check_protocol",
    "check_public_room",
    "check_room",
    "check_text",
    "is_direct",
    "marked_name",
    "minor_version",
    "parse_address",
    "sane_time",
]

PROTOCOL = "1.3"
"""The protocol version of this code, `major.minor`; peers of the same major version understand each other."""

MAX_FRAME = 64 * 1024
"""Longest body of a frame, in bytes, without its four length bytes."""

MAX_TEXT = 16 * 1024
"""Longest text of a message, in bytes of UTF-8."""

MAX_NAME = 64
"""Longest name of a person, room or node, in characters after NFC."""

MAX_QUESTIONS = 16
"""Requests for old messages that a client may have open on one connection."""

MAX_DEPTH = 16
"""Deepest nesting of maps and lists in a message; the outermost one counts."""

WINDOW = 10_000
"""Distance of a post's id below the highest one of its connection, at most. Clients wait before it grows that far."""

MAX_COUNT = 2**53 - 1
"""Largest whole number: it stays exact in languages whose only number is a double."""

MAX_TIME = 253_402_300_799_999
"""Latest time, in milliseconds since the Unix epoch: the end of the year 9999, the last that calendars can show."""

# The decoder checks these ranges in C while it reads. NaN and infinity are outside of every range.
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Place = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Moment = Annotated[int, Meta(ge=0, le=MAX_TIME)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
Figure = Annotated[float, Meta(ge=-1e15, le=1e15)]

LEADING = "#&@+%~:!$-*"
"""Characters with which no name begins: chat programs put them before names, rooms or their own lines."""

DIRECT = "@"
"""The first character of the room of a private conversation; 32 hexadecimal digits follow, see `wire.direct`."""

# Control characters in a name could move the cursor of a terminal; surrogates are no text.
_CONTROL = frozenset({"Cc", "Cs"})
# A name with white space could look like a whole line of the chat.
_WHITE = frozenset({"Zs", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Mc", "Me"})


def _invisible() -> frozenset[str]:
    """Return invisible characters outside the category Cf, which would make two names look alike.

    They are Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties), which Python does not have and which mostly
    is Cf, and the Braille blank.
    """
    spans = (
        "34f", "115f-1160", "17b4-17b5", "180b-180f", "2065", "2800", "3164", "fe00-fe0f", "ffa0", "fff0-fff8",
        "e0000-e0fff",
    )  # fmt: skip
    bounds = [[int(end, 16) for end in span.split("-")] for span in spans]
    return frozenset(chr(code) for ends in bounds for code in range(ends[0], ends[-1] + 1))


_INVISIBLE = _invisible()


# The same few names come with every frame. To look a result up here takes a twentieth of the time of a check.
_remembered = lru_cache(maxsize=65536)


def _plain(what: str, value: str) -> str:
    # Without this check the error would come later, in the encoder or at the peer, and not where the caller is wrong.
    if not isinstance(value, str):
        raise UsageError(f"a {what} is a str, not {type(value).__name__}")
    return str.__str__(value)  # a plain str: MessagePack does not know classes derived from str


def _check_word(what: str, word: str) -> str:
    word = _plain(what, word)
    # No character of NFC comes from more than four others. The time of normalizing may grow with the square of the
    # length, so a hostile frame full of combining marks must be refused before.
    if len(word) > 4 * MAX_NAME:
        raise UsageError(f"a {what} has 1 to {MAX_NAME} characters, this one has {len(word)}")
    word = unicodedata.normalize("NFC", word)
    if not 1 <= len(word) <= MAX_NAME:
        raise UsageError(f"a {what} has 1 to {MAX_NAME} characters, this one has {len(word)}")
    for character in word:
        fault = _fault(character)
        if fault:
            raise UsageError(f"a {what} may not contain {fault}: {_advice(word)}")
    if word[0] in LEADING:
        raise UsageError(f"a {what} may not begin with {word[0]!r}: {_advice(word)}")
    if unicodedata.category(word[0]) in _MARKS:
        raise UsageError(f"a {what} may not begin with a mark that belongs to the letter before it: {_advice(word)}")
    return word


def _fault(character: str) -> str:
    """Return the fault of a character in a name; empty if it has none."""
    category = unicodedata.category(character)
    if category in _WHITE or character in "\t\n\v\f\r\x85":
        return "white space"
    if category in _CONTROL:
        return "control characters"
    if category == "Cf" or character in _INVISIBLE:
        return "invisible characters"
    return "commas" if character == "," else ""


def _advice(word: str) -> str:
    """Return the refused name as it can be shown, and a similar valid name if there is one."""
    better = _mended(word)
    shown = repr("".join(c if c not in _INVISIBLE else f"U+{ord(c):04X}" for c in word))
    return f"{shown} could be {better!r}" if better else f"this is {shown}"


def _mended(word: str) -> str:
    """Return the name without its faults; the result may be empty."""
    faults = {character: _fault(character) for character in word}
    kept = "".join(
        "" if faults[c] in ("control characters", "invisible characters") else "_" if faults[c] else c for c in word
    )
    while kept and (kept[0] in LEADING or kept[0] == "_" or unicodedata.category(kept[0]) in _MARKS):
        kept = kept[1:]
    return kept.rstrip("_")


def check_older_name(name: str) -> None:
    """Raise UsageError for a name that every version refuses. Members on older nodes may have names that we refuse."""
    if not 1 <= len(name) <= MAX_NAME:
        raise UsageError(f"a name has 1 to {MAX_NAME} characters, this one has {len(name)}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise UsageError(f"a name may not contain control characters: {name!r}")


def marked_name(name: str) -> str:
    """Return a name as it is shown: a name from an older log that would be refused today gets a tilde before it.

    So no line can look as if another person had said it: valid names neither begin with a tilde nor have white space.
    """
    try:
        return check_name(name)
    except UsageError:
        return f"~{_mended(name) or '_'}"


_remembered_name = _remembered(partial(_check_word, "name"))


def check_name(name: str) -> str:
    """Return the name of a person or node in NFC; raises UsageError outside the limits."""
    # Clients that ask a broker all have different names, so a memory of results would not help. Simple names pass here.
    simple = type(name) is str and name.isascii() and name.isprintable()
    if simple and 0 < len(name) <= MAX_NAME and not (" " in name or "," in name or name[0] in LEADING):
        return name
    return _remembered_name(name)


@_remembered
def check_room(room: str) -> str:
    """Return a room's name in NFC; raises UsageError outside the limits."""
    return room if isinstance(room, str) and is_direct(room) else _check_word("room name", room)


def check_public_room(room: str) -> str:
    """Return the name in NFC of a room that brokers may know; raises UsageError also for private conversations."""
    if isinstance(room, str) and is_direct(room):
        raise UsageError("brokers know nothing of private conversations: leave the room out")
    return check_room(room)


def is_direct(room: str) -> bool:
    """Return whether a room is that of a private conversation: no client can choose such a name."""
    return len(room) == 33 and room[0] == DIRECT and all(digit in "0123456789abcdef" for digit in room[1:])


def check_text(text: str) -> str:
    """Return a message's text as a plain str; raises UsageError if it is over 16 KiB or UTF-8 cannot carry it."""
    text = _plain("text", text)
    if text.isascii():
        if len(text) > MAX_TEXT:
            raise UsageError(f"a text has at most {MAX_TEXT} bytes, this one has {len(text)}")
        return text
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("a text must be valid Unicode without lone surrogates") from None
    if size > MAX_TEXT:
        raise UsageError(f"a text has at most {MAX_TEXT} bytes, this one has {size}")
    return text


def check_protocol(protocol: str) -> None:
    """Raise UsageError unless the peer's protocol version is of our major version."""
    if protocol == PROTOCOL:
        return
    major, _, minor = protocol.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise UsageError(f"a protocol version is MAJOR.MINOR, not {protocol[:20]!r}")
    if int(major[:9]) != int(PROTOCOL.partition(".")[0]):
        raise UsageError(f"this side speaks protocol {PROTOCOL}, not {protocol[:20]}: use a matching version")


def minor_version(protocol: str) -> int:
    """Return the minor number of a version that `check_protocol` has accepted."""
    return int(protocol.partition(".")[2][:9])


def sane_time(at: int) -> int:
    """Return a time in ms since the Unix epoch, moved into the years 1970 to 9999.

    Old logs may hold other times, and a message with a wrong time is better than no message.
    """
    return at if 0 <= at <= MAX_TIME else min(max(at, 0), MAX_TIME)


def parse_address(address: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[IPv6]:PORT` into host and port, 0 to 65535; raises UsageError for any other text."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise UsageError(f"an address is HOST:PORT, such as 127.0.0.1:6000, not {address[:80]!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"put an IPv6 address in brackets, [::1]:6000, not {address[:80]!r}")
    # A part could listen at a star, but no client could connect to it; 0.0.0.0 means the same to a listener.
    wrong = not host or any(character in " *[]/" or not character.isprintable() for character in host)
    try:
        host.encode("idna")  # as each later look-up of this name does
    except UnicodeError:
        wrong = True
    if wrong:
        raise UsageError(f"an address is HOST:PORT, such as 127.0.0.1:6000, not {address[:80]!r}")
    return host, int(port)
