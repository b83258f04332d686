"""The line on standard error with which a command that fails ends, and what makes a peer's text harmless in a line.

This module owns how the line begins and what may stand in it, or in a table; any thread may call it. It must never let
through what would be more than one line, or steer the terminal. What a part tells while it runs is its log's.
"""

from __future__ import annotations

import sys

__all__ = ["print_error", "printable"]


def print_error(text: str) -> None:
    """Say the text in a line, at once."""
    print(f"parlour: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return the text with what a terminal would obey made visible."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
