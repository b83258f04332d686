"""The line on standard error that tells the operator of something, the same from every part and thread.

This module owns how it begins and what may stand in it, or in a table; it may be called on any thread. It must never
let through what would be more than one line, or steer the terminal: the text may quote what a peer sent.
"""

from __future__ import annotations

import sys

__all__ = ["complain", "printable"]


def complain(text: str) -> None:
    """Say the text in a line, at once."""
    print(f"parlour: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return the text with what a terminal would obey made visible."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
