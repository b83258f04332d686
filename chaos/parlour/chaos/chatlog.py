"""Logs of a channel: who came, what was said and who left, line by line.

This module owns the formats of logs: those with `=== ` before events (Ubuntu's channels), those of mIRC (`[12:34] *
Joins: ada (a@host)`) and those of Colabti and ZNC (`[12:34] *** ada has quit IRC (bye)`). It is pure: bytes in, entries
out, on any thread. It must never skip a line that it does not understand without counting it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name, check_text
from parlour.wire.records import ACTION, SAID

__all__ = ["SHOWN", "Came", "Entry", "Log", "Said", "Went", "crowd", "numbers", "parse_log"]


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    """The number of the line in the log, from 1."""
    at: float
    """Seconds since the log's first minute."""
    nick: str


@dataclass(frozen=True, slots=True)
class Came(_Entry):
    """A nick came to the channel, or is the new name of another nick."""


@dataclass(frozen=True, slots=True)
class Went(_Entry):
    """A nick left the channel, was kicked, or has another name from now on."""


@dataclass(frozen=True, slots=True)
class Said(_Entry):
    """A nick said or did something, perhaps without `Came`: a log may begin in the middle of a day."""

    text: str
    kind: str = SAID
    """The kind of the record that it becomes."""


Entry = Came | Went | Said
"""What one line of a log tells; a change of name gives two entries."""


@dataclass(frozen=True, slots=True)
class Log:
    """The entries of a log, and the numbers of lines that could not be read as they are."""

    entries: tuple[Entry, ...]
    unread: tuple[int, ...]
    """Lines that fit no format; they are not played."""
    mended: tuple[int, ...]
    """Lines with bytes that are no character in the encoding; U+FFFD is played instead."""


MAX_BAD = 0.02
"""Fraction of a log's lines that may be unread, or hold wrong bytes; with more the log is refused."""

SHOWN = 5
"""Line numbers that an error or a verdict names at most."""

_HOURS, _MINUTES = "([01][0-9]|2[0-3])", "([0-5][0-9])"
_TIME = re.compile(rf"\[{_HOURS}:{_MINUTES}(?::{_MINUTES})?\] (.*)")

# Some programs write a space behind a nick that ends in a bracket. An empty text has no space before it.
_SAID = re.compile(r"<([^<> ]+) ?> ?(.*)")
# Two spaces before the star always mean an action. With one space, as mIRC writes, it may also be an event.
_DEED = re.compile(r" +\* (\S+) ?(.*)")
_STAR = re.compile(r"\* (\S+) ?(.*)")
_EVENT = re.compile(r"(?:\*\*\*|\*|===) (.*)")

_HOST = r"(?:\s+[\[(][^\])]*[\])])?\s+"
_REASON = r"\s*(?:[\[(].*)?"
_CHANNEL = r"[#&]\S*"
_JOINED = re.compile(rf"(\S+){_HOST}has joined {_CHANNEL}{_REASON}|Joins: (\S+)(?: .*)?")
_LEFT = re.compile(
    rf"(\S+){_HOST}(?:has left {_CHANNEL}{_REASON}|has quit(?: IRC)?{_REASON}"
    rf"|was kicked (?:(?:off|from) {_CHANNEL} )?by \S+{_REASON})|(?:Parts|Quits): (\S+)(?: .*)?"
)
_RENAMED = re.compile(r"(\S+) is now known as (\S+)\s*")

# Lines of the channel or of the logging program, which concern no nick, are understood and skipped.
_TOLD = re.compile(
    r"mode/[#&].*|(?:\.\.)?\[?topic/[#&].*|\S+ (?:sets mode: |changes topic to |has changed the topic to).*"
    r"|Now talking (?:in|on) [#&].*|Topic is '.*|Topic for [#&].*|Set by \S+ on .*|Retrieving [#&].*|Disconnected"
    r"|Attempting to rejoin channel .*|Rejoined channel .*|You were kicked .*|You are now known as .*"
)
_SESSION = re.compile(r"Session (?:Start|Ident|Time|Close): .*")

_CODES = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04[0-9a-fA-F]{6}|[\x02\x0f\x11\x16\x1d\x1e\x1f]")
"""Codes for colours, bold and the like: texts keep them, names and events lose them."""

_RANKS = "~&@%+"
"""Signs of operators and the like before a nick; no nick begins with one (RFC 2812, 2.3.1)."""

_MINUTE = 60.0
"""Seconds between two different times in a log without seconds."""

_HOUR = 60 * 60
_DAY = 24 * _HOUR
"""Seconds after which the times of a log begin again."""


class _Clock:
    """The time in a log: `now`, in seconds since its first time, in steps of `step` seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = _MINUTE
        self._last: int | None = None

    def set(self, hours: str, minutes: str, seconds: str | None) -> None:
        if seconds is not None:
            self.step = 1.0
        second = _HOUR * int(hours) + 60 * int(minutes) + int(seconds or 0)
        passed = 0 if self._last is None else (second - self._last) % _DAY
        # After midnight the times begin again. A step back of up to an hour is the end of summer time, or a clock that
        # was corrected: that is not a day.
        if passed < _DAY - _HOUR:
            self.now += passed
        self._last = second


def parse_log(data: bytes, source: str, encoding: str = "utf-8") -> Log:
    """Return the entries of a log in their order.

    Spreads the lines of one minute evenly over it if the log has no seconds. Raises UsageError, with `source` and line
    numbers, for a line that a room cannot carry, for a log of which more than `MAX_BAD` cannot be read, and for an
    encoding in which ASCII is not written as it is.
    """
    new_decoder = _decoders(encoding)
    entries: list[Entry] = []
    unread: list[int] = []
    cut: list[int] = []
    wrong: list[int] = []
    clock = _Clock()
    lines = talk = 0
    for number, raw in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        raw = raw.removesuffix(b"\r")
        if not raw.strip():
            continue
        lines += 1
        decoder = new_decoder()
        try:
            line = decoder.decode(raw)
            # IRC cuts a message at its 512th byte, even within a character.
            if decoder.getstate()[0]:
                line += "\ufffd"
                cut.append(number)
        except UnicodeDecodeError:
            line = raw.decode(encoding, "replace")
            wrong.append(number)
        try:
            if talk == number - 1 and line[0] in " \t" and isinstance(last := entries[-1], Said):
                entries[-1] = replace(last, text=check_text(f"{last.text}\n{line.strip()}"))
                talk = number
                continue
            read = _read(line, number, clock)
        except UsageError as error:
            raise UsageError(f"{source}:{number}: {error}") from None
        if read is None:
            unread.append(number)
        elif read:
            entries += read
            talk = number if isinstance(read[-1], Said) else 0
    if lines and len(unread) == lines:
        raise UsageError(f"{source} holds no line such as `[12:34] <ada> hello`: is it the log of a channel?")
    if len(wrong) > MAX_BAD * lines:
        raise UsageError(
            f"{source}: {len(wrong)} of {lines} lines are not {encoding} ({numbers(wrong)}): "
            "name the file's encoding with --encoding"
        )
    if len(unread) > MAX_BAD * lines:
        raise UsageError(
            f"{source}: {len(unread)} of {lines} lines fit no format ({numbers(unread)}): "
            "`parlour replay --help` tells what is read; mend or remove them"
        )
    return Log(tuple(_spread(entries, clock.step)), tuple(unread), tuple(sorted(cut + wrong)))


def numbers(lines: Sequence[int]) -> str:
    """Return the first of these line numbers, in words."""
    return (
        ("line " if len(lines) == 1 else "lines ") + ", ".join(map(str, lines[:SHOWN])) + ", …" * (len(lines) > SHOWN)
    )


def crowd(entries: Iterable[Entry]) -> int:
    """Return the highest number of nicks that are there at the same time."""
    here: set[str] = set()
    most = 0
    for entry in entries:
        if isinstance(entry, Went):
            here.discard(entry.nick)
        else:
            here.add(entry.nick)
        most = max(most, len(here))
    return most


def _decoders(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    """Return a maker of decoders for this encoding; raises UsageError if it does not show where lines end."""
    try:
        if "\n[<*".encode(encoding) == b"\n[<*":
            return codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        pass
    raise UsageError(f"{encoding} is no encoding that logs can be read in: try cp1252 or utf-8, or convert the file")


def _read(line: str, number: int, clock: _Clock) -> list[Entry] | None:
    """Return the entries of one line, or None if it fits no format; raises UsageError if a room cannot carry it."""
    # mIRC colours whole lines; the codes come before the time.
    while code := _CODES.match(line):
        line = line[code.end() :]
    if line.startswith("=== "):
        return _event(line, number, clock)
    if (timed := _TIME.fullmatch(line)) is None:
        return [] if _SESSION.fullmatch(line) else None
    *time, rest = timed.groups()
    clock.set(*time)
    if said := _SAID.fullmatch(rest):
        return _said(said, number, clock, SAID)
    if deed := _DEED.fullmatch(rest):
        return _said(deed, number, clock, ACTION)
    if (event := _event(rest, number, clock)) is not None:
        return event
    if deed := _STAR.fullmatch(rest):
        return _said(deed, number, clock, ACTION)
    return None


def _said(said: re.Match[str], number: int, clock: _Clock, kind: str) -> list[Entry]:
    """Return the entry for what a nick said or did."""
    return [Said(number, clock.now, _nick(said[1]), check_text(said[2]), kind)]


def _event(line: str, number: int, clock: _Clock) -> list[Entry] | None:
    if (event := _EVENT.fullmatch(_CODES.sub("", line))) is None:
        return None
    told = event[1]
    if joined := _JOINED.fullmatch(told):
        return [Came(number, clock.now, _nick(joined[1] or joined[2]))]
    if left := _LEFT.fullmatch(told):
        return [Went(number, clock.now, _nick(left[1] or left[2]))]
    if renamed := _RENAMED.fullmatch(told):
        return [Went(number, clock.now, _nick(renamed[1])), Came(number, clock.now, _nick(renamed[2]))]
    return [] if _TOLD.fullmatch(told) else None


def _nick(written: str) -> str:
    return check_name(_CODES.sub("", written).lstrip(_RANKS))


def _spread(entries: Iterable[Entry], step: float) -> Iterator[Entry]:
    for at, group in groupby(entries, attrgetter("at")):
        together = list(group)
        for index, entry in enumerate(together):
            yield replace(entry, at=at + step * index / len(together))
