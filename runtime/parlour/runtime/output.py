"""The output of commands, the same everywhere: JSON for programs, times and counts for people.

This module owns its form; any thread may call it. It must never print a character that a terminal might obey, nor fail
because of anything that a peer sent.
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
"""Characters that may need an escape: all except printable ASCII."""


def print_json(value: object) -> None:
    """Print the value as a line of JSON, in UTF-8 whatever encoding standard output has."""
    click.echo(json_line(value).encode())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 client, 2 clients."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def json_line(value: object) -> str:
    r"""Return the value as one line of JSON; each character that is neither visible nor a space is a `\u` escape.

    This escapes controls, line separators, direction overrides and lone surrogates. NaN and infinity become null.
    """
    text = json.dumps(_finite(msgspec.to_builtins(value)), ensure_ascii=False, separators=(",", ":"))
    return _PERHAPS.sub(_escaped, text)


def is_dumb() -> bool:
    """Whether the terminal can only append lines: it can neither move the cursor nor erase."""
    return os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")


def in_colour() -> bool:
    """Whether to use colours: the terminal has them, and NO_COLOR is not set (https://no-color.org)."""
    return not (is_dumb() or os.environ.get("NO_COLOR"))


def local_time(at: int) -> datetime | None:
    """Return local time for milliseconds since the Unix epoch, by the offset of that day; None if out of range."""
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
