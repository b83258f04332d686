"""The output of commands, the same everywhere: JSON for programs, and times and counts for people.

This module owns what may stand in it; its functions may be called on any thread. It must never let through what a
terminal would obey, nor fail for anything that a peer sent.
"""

from __future__ import annotations

import json
import math
import os
import re
from datetime import datetime
from typing import Any

import click
import msgspec

__all__ = ["counted", "in_colour", "is_dumb", "json_line", "local_time", "print_json"]

_PERHAPS = re.compile("[^ -~]")
"""What may have to be escaped: anything but the ASCII that can be printed."""


def print_json(value: object) -> None:
    """Print the value as a line of JSON, in UTF-8 whatever the encoding of standard output."""
    click.echo(json_line(value).encode())


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, in words: 1 client, 2 clients."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def json_line(value: object) -> str:
    r"""Return the value as JSON in one line; all that is neither a visible character nor a space is a `\u` escape.

    So are controls, line separators, direction overrides and lone surrogates. A number that is none becomes null.
    """
    text = json.dumps(_finite(msgspec.to_builtins(value)), ensure_ascii=False, separators=(",", ":"))
    return _PERHAPS.sub(_escaped, text)


def is_dumb() -> bool:
    """Whether the terminal knows no more than lines: nothing may go back in them, or be wiped."""
    return os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")


def in_colour() -> bool:
    """Whether a terminal may be shown colours: it knows them, and nobody wants none (https://no-color.org)."""
    return not (is_dumb() or os.environ.get("NO_COLOR"))


def local_time(at: int) -> datetime | None:
    """Return a time in milliseconds since the Unix epoch as local time, as it was there then; None if it is none."""
    try:
        return datetime.fromtimestamp(at / 1000)
    except (ValueError, OverflowError, OSError):
        return None


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
