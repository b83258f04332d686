"""The JSON lines dialect: one JSON object on each line, with the fields that the frames have.

This module owns the reading of lines, which a client's own thread does, and the variant that turns frames into lines,
which any thread may use. It must never decode a line that nests deeply: the decoder recurses once a level, which
overflows a thread's small stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec

from parlour.dialects.dialect import Encoding, Variant
from parlour.wire.codec import bodies
from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.limits import MAX_COUNT, MAX_DEPTH, MAX_FRAME, PROTOCOL, check_room
from parlour.wire.messages import ClientMessage, Error, Hello, NodeMessage

__all__ = ["BOM", "JSON", "WHITE", "JsonLinesDialect", "JsonVariant"]

WHITE = b" \t\r\n"
"""White space in JSON."""

BOM = b"\xef\xbb\xbf"
"""A byte order mark, which some programs write before their first line."""

MAX_REASON = 200
"""Longest part, in characters, of what was wrong with a line that goes into an error's text."""


# --- what a client sends --------------------------------------------------------------------------------------------


class _Place(msgspec.Struct):
    """The fields of a wrong line that tell which post or room it is about, whatever they hold."""

    room: Any = None
    id: Any = None


_decode = msgspec.json.Decoder(ClientMessage).decode
_decode_place = msgspec.json.Decoder(_Place).decode

# A string, closed or not. Nothing is tried twice (`*+`), so the time is linear for any line.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")  # as signed bytes: 1 and -1
_AT_BYTE = re.compile(r"(.*) \(byte ([0-9]+)\)")


def _too_deep(line: bytes) -> bool:
    """Return whether arrays and objects are nested too deeply; brackets in strings are text."""
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return False
    steps = _STRING.sub(b"", line).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


class JsonLinesDialect:
    """JSON lines both ways. A wrong line is answered with an error, and the connection goes on with the next one."""

    tolerant = True

    def __init__(self) -> None:
        self.variant: Variant | None = JSON
        self._begun: list[bytes] = []  # pieces of the line that has not ended
        self._size = 0  # bytes in them
        self._number = 0  # lines that have ended
        self._broken = False

    def feed(self, data: bytes) -> Iterator[ClientMessage | Error]:
        """Yield a message for each line that `data` completes, or an `Error` (`bad_line`) if the line is wrong.

        Raises ProtocolError (`line_too_long`) if a line, ended or not, has more than 64 KiB.
        """
        if self._broken:
            raise ProtocolError("nothing can follow a line that is too long", "line_too_long")
        *lines, rest = data.split(b"\n")
        if lines and self._begun:
            lines[0] = b"".join([*self._begun, lines[0]])
            self._begun, self._size = [], 0
        for line in lines:
            self._number += 1
            self._check_size(self._number, len(line))
            if self._number == 1:
                line = line.removeprefix(BOM)
            if not line.strip(WHITE):
                continue
            try:
                if _too_deep(line):
                    raise UsageError(f"objects and arrays may be nested {MAX_DEPTH} deep, not deeper")
                message = _decode(line)
            except (msgspec.MsgspecError, UsageError, UnicodeDecodeError) as error:
                yield _bad_line(line, self._number, error)
                continue
            if type(message) is Hello and not message.protocol:
                message = msgspec.structs.replace(message, protocol=PROTOCOL)
            yield message
        self._check_size(self._number + 1, self._size + len(rest))
        if rest:
            self._begun.append(rest)
            self._size += len(rest)

    def _check_size(self, number: int, size: int) -> None:
        if size > MAX_FRAME:
            self._broken = True
            raise ProtocolError(f"line {number} has more than {MAX_FRAME} bytes", "line_too_long")


def _bad_line(line: bytes, number: int, error: Exception) -> Error:
    """Return the answer to a wrong line: where the fault is, what it is, and which post or room it was about."""
    where, reason = f"line {number}", str(error)
    room: str | None = None
    post: int | None = None
    if isinstance(error, UnicodeDecodeError):
        where, reason = f"{where}, {_character(line, _first_wrong_byte(line))}", "not UTF-8"
    elif isinstance(error, msgspec.ValidationError):
        # The library's words: "Expected `int`, got `str` - at `$.id`".
        reason = (reason[0].lower() + reason[1:]).replace(" - at `", " at `")
        room, post = _place(line)
    elif found := _AT_BYTE.fullmatch(reason):
        # Of what follows the object the library has read one byte already.
        position = int(found[2]) - found[1].endswith("trailing characters")
        where, reason = f"{where}, {_character(line, position)}", found[1]
    elif isinstance(error, msgspec.DecodeError):
        reason = "this is not a whole JSON object"
    text = "".join(character if character.isprintable() else "?" for character in reason[:MAX_REASON])
    return Error("bad_line", f"{where}: {text}", room, post)


def _character(line: bytes, position: int) -> str:
    """Return where a byte is for people: editors count characters, from 1."""
    return f"character {len(line[:position].decode(errors='replace')) + 1}"


def _first_wrong_byte(line: bytes) -> int:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _place(line: bytes) -> tuple[str | None, int | None]:
    """Return the room and the id in a line that is JSON, each if it could be one."""
    try:
        place = _decode_place(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, None
    room: str | None = None
    if isinstance(place.room, str):
        try:
            room = check_room(place.room)
        except UsageError:
            pass
    return room, place.id if type(place.id) is int and 0 < place.id <= MAX_COUNT else None


# --- what a node sends ----------------------------------------------------------------------------------------------

_decode_any = msgspec.msgpack.Decoder().decode
_decode_known = msgspec.msgpack.Decoder(NodeMessage).decode
_encode_lines = msgspec.json.Encoder().encode_lines


class JsonVariant:
    """A line of JSON for each frame, with all its fields, also those that only later versions know."""

    def encode(self, frames: bytes | memoryview) -> Encoding:
        """Return the messages in joined frames as lines."""
        maps = list(bodies(frames))
        try:
            data = _encode_lines([_decode_any(body) for body in maps])
        except (TypeError, ValueError):
            # A later version's field holds what JSON cannot: then only the fields that are known here are shown.
            data = _encode_lines([_shown(body) for body in maps])
        if len(maps) == 1:
            return Encoding(data, [len(data)])
        ends = []
        end = 0
        while end := data.find(b"\n", end) + 1:  # in JSON a string has no line ends
            ends.append(end)
        return Encoding(data, ends)


def _shown(body: bytes | memoryview) -> object:
    try:
        value: object = _decode_any(body)
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return _decode_known(body)
    return value


JSON = JsonVariant()
"""The one instance that is needed."""
