"""The user's own folders and files: where they are by default, and that nobody else can read them.

This module owns the check that there are such folders, and the modes; any thread may call it. It must never make a
folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from parlour.wire.errors import ParlourError

__all__ = ["PRIVATE", "home_folder", "open_private"]

PRIVATE = 0o600
"""The mode of a file that is for its owner alone."""


def home_folder(find: Callable[[str], Path], variable: str) -> Path:
    """Return parlour's folder, as a function of platformdirs finds it.

    Raises ParlourError, naming the variable to set, where the user has no home folder.
    """
    try:
        path = find("parlour")
    except RuntimeError:  # of its newer versions; the older return what is no path
        path = Path("~")
    if not path.is_absolute():
        raise ParlourError(f"this user has no home folder: set HOME, or {variable}, to a folder of yours")
    return path


def open_private(path: str, flags: int) -> int:
    """Open a file for `open(..., opener=open_private)`: if it is made now, for its owner alone."""
    return os.open(path, flags, PRIVATE)
