"""Recorded days of a channel: who came, what was said, who left, line by line.

This module owns the format of the logs: `[12:34] <ada> text`, `[12:34]  * ada waves`, and `=== ` before what the
channel itself tells. It is pure, bytes in and entries out, on any thread. It must never change a text, nor take a line
for the end of one at anything but a newline.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from parlour.wire.errors import UsageError
from parlour.wire.limits import check_name, check_text

__all__ = ["Came", "Entry", "Left", "Said", "crowd", "parse_log"]


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    """Where it stands in the log, counted from 1."""
    at: float
    """Seconds since the log's first minute."""
    nick: str


@dataclass(frozen=True, slots=True)
class Came(_Entry):
    """Somebody came to the channel, or goes by this name from now on."""


@dataclass(frozen=True, slots=True)
class Left(_Entry):
    """Somebody left the channel, was made to, or goes by another name from now on."""


@dataclass(frozen=True, slots=True)
class Said(_Entry):
    """Somebody said something, possibly without having come: a recording begins in the middle of a day."""

    text: str


Entry = Came | Left | Said
"""What one line of a log tells; a change of name is two of them."""

# Some loggers put a space behind a nick that ends in a bracket. No space follows where the text is empty.
_SAID = re.compile(r"\[(\d\d):(\d\d)\] <([^<> ]+) ?> ?(.*)")
_DID = re.compile(r"\[(\d\d):(\d\d)\] +\* (\S+) ?(.*)")

# What channels tell besides, topics and modes for example, is of no nick's making and is passed over.
_HOST = r"(?:\s+\[[^\]]*\])?\s+"
_JOINED = re.compile(rf"=== (\S+){_HOST}has joined #.*")
_LEFT = re.compile(rf"=== (\S+){_HOST}(?:has left #|has quit\b|was kicked off #).*")
_RENAMED = re.compile(r"=== (\S+) is now known as (\S+)\s*")

_MINUTE = 60.0
"""Seconds between two times that a log can tell apart."""

_DAY = 24 * 60
"""Minutes after which a log's times begin again."""


class _Clock:
    """The time that a log tells: `now`, in seconds since its first minute."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last: int | None = None

    def set(self, hours: str, minutes: str) -> None:
        minute = 60 * int(hours) + int(minutes)
        if self._last is not None:
            passed = (minute - self._last) % _DAY
            # After midnight the times begin again. A step back of less than half a day is a clock that was put right,
            # for which nobody should wait a day.
            if passed < _DAY / 2:
                self.now += _MINUTE * passed
        self._last = minute


def parse_log(data: bytes, source: str) -> list[Entry]:
    """Return what the log tells, in its order.

    The lines of one minute are spread over it, as their seconds were not recorded. Raises UsageError, with `source`
    and the line's number, for a line that is not UTF-8 or that a room cannot carry, and for a log without a line said.
    """
    entries: list[Entry] = []
    clock = _Clock()
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            entries += _read(line.decode(), number, clock)
        except UnicodeDecodeError:
            raise UsageError(f"{source}:{number}: this line is not UTF-8: convert the file first") from None
        except UsageError as error:
            raise UsageError(f"{source}:{number}: {error}") from None
    if not any(isinstance(entry, Said) for entry in entries):
        raise UsageError(f"{source} holds no line such as `[12:34] <ada> hello`: is it the log of a channel?")
    return list(_spread(entries))


def crowd(entries: Iterable[Entry]) -> int:
    """Return how many nicks are there at once, at most."""
    here: set[str] = set()
    most = 0
    for entry in entries:
        if isinstance(entry, Left):
            here.discard(entry.nick)
        else:
            here.add(entry.nick)
        most = max(most, len(here))
    return most


def _read(line: str, number: int, clock: _Clock) -> list[Entry]:
    """Return what one line tells, which is nothing for many; raises UsageError if a room cannot carry it."""
    if said := _SAID.fullmatch(line) or _DID.fullmatch(line):
        hours, minutes, nick, text = said.groups()
        clock.set(hours, minutes)
        # What somebody does is said in the way that terminals show as a deed (XEP-0245).
        text = text if said.re is _SAID else f"/me {text}"
        return [Said(number, clock.now, check_name(nick), check_text(text))]
    if joined := _JOINED.fullmatch(line):
        return [Came(number, clock.now, check_name(joined[1]))]
    if left := _LEFT.fullmatch(line):
        return [Left(number, clock.now, check_name(left[1]))]
    if renamed := _RENAMED.fullmatch(line):
        old, new = renamed.groups()
        return [Left(number, clock.now, check_name(old)), Came(number, clock.now, check_name(new))]
    return []


def _spread(entries: Iterable[Entry]) -> Iterator[Entry]:
    for at, group in groupby(entries, attrgetter("at")):
        together = list(group)
        for index, entry in enumerate(together):
            yield replace(entry, at=at + _MINUTE * index / len(together))
