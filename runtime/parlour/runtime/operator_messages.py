"""Messages for people on standard error, such as the line with which a failed command ends.

This module owns the form of that line, and makes a peer's text safe for lines and tables; any thread may call it. It
must never print a second line or a control character. What a running part reports goes to its log instead.
"""

from __future__ import annotations

import sys

__all__ = ["print_error", "printable"]


def print_error(text: str) -> None:
    """Print the text to standard error at once, as one line."""
    print(f"parlour: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return the text with a visible mark in place of each character that a terminal might obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
