"""The lines of a chat on a terminal: with a time, a name in its own colour, and nothing that could do harm.

This module owns the wording and the colours of lines, and the escaping of texts that others wrote. It is pure and runs
on any thread. It must never let a control character of another person reach the terminal.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from parlour.client.events import Changed, Message, Presence
from parlour.runtime.output import local_time
from parlour.wire.limits import marked_name
from parlour.wire.mentions import find_mention
from parlour.wire.records import ACTION, EDIT, NOTICE, REACT, SAID, STATE_KINDS, is_moderation

__all__ = ["Lines", "Reader", "harmless", "name_colour"]

_RETURN = "\u23ce"

# Characters that move the cursor, change colours, ring, or change the order in which text is read. The marks that
# right-to-left languages need within a word (U+200E, U+200F, U+061C) stay: they override nothing.
_PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))},
    0x7F: "\u2421",
    ord("\t"): "    ",
    ord("\n"): _RETURN,
    0x2028: _RETURN,
    0x2029: _RETURN,
}

# Colours of the 256-colour palette that can be read on black and on white.
_HUES = (32, 34, 36, 64, 68, 98, 99, 103, 125, 130, 133, 136, 161, 166, 169, 172)


_QUOTED = 20
"""Most characters of a text that are quoted."""

_MOST_LINES = 20
"""Most lines of a text on the screen; the last of them holds the rest."""


def harmless(text: str) -> str:
    """Return the text on one line, with visible signs in place of control characters and direction overrides."""
    return text.replace("\r\n", "\n").translate(_PICTURES)


def name_colour(name: str) -> int:
    """Return the colour of a name, a number of the 256-colour palette; a name always has the same colour."""
    return _HUES[zlib.crc32(name.encode(errors="replace")) % len(_HUES)]


class Reader(Protocol):
    """The person who reads the lines; its names may change."""

    @property
    def name(self) -> str:
        """The name under which the person posts."""
        ...

    @property
    def display(self) -> str:
        """The display name; empty if there is none."""
        ...


@dataclass(frozen=True)
class Lines:
    """Formats the lines of a chat, with colours or without.

    For a `reader` texts of several lines are shown as such, and the names of the reader stand out in other texts.
    """

    colour: bool
    reader: Reader | None = None
    titles: dict[str, str] = field(default_factory=dict)
    """The names of rooms as they are shown, where these differ: private conversations are shown as `@bob`."""

    def title(self, room: str) -> str:
        """Return the name of a room as it is shown."""
        return harmless(self.titles.get(room, room))

    def mentions(self, message: Message, answered: Message | None = None) -> bool:
        """Whether another person named the reader, or answered a message of the reader."""
        if self.reader is None or self._by_reader(message):
            return False
        return self._by_reader(answered) or self._naming(message.text) is not None

    def _by_reader(self, message: Message | None) -> bool:
        """Whether the reader has said this, perhaps under an earlier name or on another device."""
        if self.reader is None or message is None:
            return False
        return message.mine or message.by == self.reader.name

    def _naming(self, text: str) -> re.Match[str] | None:
        return None if self.reader is None else find_mention(text, (self.reader.name, self.reader.display))

    def message(
        self,
        message: Message,
        now: datetime,
        room: bool = False,
        answered: Message | None = None,
        numbered: bool = False,
    ) -> str:
        """Return a message as a line, with the day if it is not today's; with the room or the number if wanted.

        `now` is local time. The line shows the local time of the message's own day, with or without summer time. For a
        reply `answered` is the message that it answers, if that is known.
        """
        name = self._paint(harmless(marked_name(message.by)), f"1;38;5;{name_colour(message.by)}")
        if message.kind in STATE_KINDS:
            when = self._paint(_when(message, now), "2")
            return f"{when} {self._place(message.room, room)}-- {name} {harmless(message.text)}"
        action, text = _action(message)
        first, *further = self._parts(message, text)
        remark = self._remark(message, answered)
        said = f"* {name}{remark} {first}" if action else f"{name}{remark}: {first}"
        number = self._paint(f"#{message.offset} ", "2") if numbered else ""
        when = self._paint(_when(message, now), "2")
        # A line of a text must not look like another line of the chat.
        further = [f"{self._paint('      |', '2')} {line}" for line in further]
        return "\n".join([f"{when} {number}{self._place(message.room, room)}{said}", *further]) + self._marks(message)

    def _remark(self, message: Message, answered: Message | None) -> str:
        """Return the remark behind the name: that it is a notice, and which message it answers."""
        remarks = ["notice"] if message.kind == NOTICE else []
        if answered is not None:
            name = harmless(marked_name(answered.by))
            if self._by_reader(answered) and not self._by_reader(message):
                name = self._paint(name, "1;7")
            remarks.append(f'to {name}: "{_quote(answered)}"')
        elif message.reply_to is not None:
            remarks.append(f"to #{message.reply_to}")
        return f" ({', '.join(remarks)})" if remarks else ""

    def _marks(self, message: Message) -> str:
        """Return the remark behind the text: that it was edited, and who reacted."""
        marks = " (edited)" if message.edited else ""
        if message.reactions:
            reactions = [f"{harmless(text)} {_some(names, 3)}" for text, names in message.reactions.items()]
            marks += f" [{', '.join(reactions)}]"
        return self._paint(marks, "2") if marks else ""

    def _parts(self, message: Message, text: str) -> list[str]:
        """Return the harmless lines of the text, with the reader's name marked."""
        text = text.replace("\r\n", "\n")
        parts = [text] if self.reader is None else text.rstrip("\n").split("\n", _MOST_LINES - 1)
        lines = [harmless(part) for part in parts]
        if self.mentions(message):
            lines = [self._marked(line) for line in lines]
        return lines

    def _marked(self, line: str) -> str:
        found = self._naming(line)
        if found is None:
            return line
        before, name, after = line[: found.start()], found[0], line[found.end() :]
        return f"{before}{self._paint(name, '1;7')}{self._marked(after)}"

    def changed(self, changed: Changed, now: datetime, room: bool = False) -> str:
        """Return the change of an earlier message as one dim line; an empty text if nothing changed."""
        record, message, before = changed.record, changed.message, changed.before
        if message is not None and message == before:
            return ""
        who = harmless(marked_name(record.by))
        if message is None or before is None:
            number, whose = f"#{record.ref}", f"#{record.ref}"
        else:
            number = f"#{message.offset} ({_when(message, now)})"
            whose = f'{harmless(marked_name(message.by))}\'s "{_quote(message)}"'
        if record.kind == EDIT:
            told = f"{who} edited {number}: {harmless(record.text)}"
        elif record.kind == REACT:
            told = f"{who}: {harmless(record.text)} to {whose}"
        elif is_moderation(record.kind, record.data):
            told = f"{who} {harmless(record.text)}: {number}"
        elif message is None or before is None or message.redacted:
            told = f"{who} deleted {number}"
        elif message.text != before.text:
            told = f"{who} took back the edit of {number}: {harmless(message.text)}"
        else:
            gone = [text for text, names in before.reactions.items() if message.reactions.get(text, ()) != names]
            told = f"{who} took back {harmless(', '.join(gone))} to {whose}"
        return self.note(f"{self._place(record.room, room)}{told}")

    def presence(self, presence: Presence, room: bool = False) -> str:
        """Return a change of the members as one dim line."""
        parts = [
            f"{_some(names)} {verb}" for names, verb in ((presence.joined, "came"), (presence.left, "left")) if names
        ]
        return self.note(f"{self._place(presence.room, room)}{', '.join(parts)} ({presence.count} here)")

    def here(self, room: str, names: Sequence[str], count: int) -> str:
        """Return the members of a room as one dim line."""
        others = f" and {count - len(names)} more" if count > len(names) else ""
        listed = ", ".join(harmless(marked_name(name)) for name in names)
        return self.note(f"{count} in {self.title(room)}: {listed}{others}")

    def note(self, text: str) -> str:
        """Return a remark of the program as a dim line."""
        return self._paint(f"-- {text}", "2")

    def day(self, day: date) -> str:
        """Return the line that begins a new day."""
        return self.note(f"{day:%A}, {day.day} {day:%B %Y}")

    def error(self, text: str) -> str:
        """Return an error as a line."""
        return self._paint(f"-- {harmless(text)}", "31")

    def _place(self, room: str, shown: bool) -> str:
        return f"[{self.title(room)}] " if shown else ""

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def _action(message: Message) -> tuple[bool, str]:
    """Return whether a message is an action, and its text; older versions wrote "/me " before it (XEP-0245)."""
    older = message.kind == SAID and message.text.startswith("/me ")
    return older or message.kind == ACTION, message.text[4:] if older else message.text


def _quote(message: Message) -> str:
    """Return the beginning of a message's text, harmless and on one line."""
    _, text = _action(message)
    return harmless(text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1].rstrip()}…")


def _when(message: Message, now: datetime) -> str:
    """Return the time of a message, with the day if that is not today."""
    at = local_time(message.at)
    return "??:??" if at is None else at.strftime("%H:%M" if at.date() == now.date() else "%Y-%m-%d %H:%M")


def _some(names: Sequence[str], most: int = 5) -> str:
    """Return the names as words; only the first ones if they are many."""
    shown = [harmless(marked_name(name)) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
