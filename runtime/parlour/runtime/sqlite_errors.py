"""What parlour advises when SQLite or the system fails on a file.

This module owns the advice; any thread may call it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["describe_error"]


def describe_error(error: sqlite3.Error | OSError, path: Path, what: str) -> str:
    """Return what happened and what to do: "the room log PATH failed (…): …". `what` is the kind of file."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    if "not a database" in text:
        advice = f"it is not a {what}; give --log another path"
    elif "unable to open" in text or "readonly" in text or isinstance(error, PermissionError):
        advice = f"it cannot be written; check the permissions of it and of {path.parent}"
    elif "full" in text or "I/O error" in text:
        advice = "the disk is full or failing; make room"
    elif "locked" in text:
        advice = "another program holds it; try again"
    else:
        advice = "check the file and its disk"
    return f"the {what} {path} failed ({text}): {advice}"
