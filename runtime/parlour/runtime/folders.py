"""The user's own folders and files: their default places, and the modes that keep others from reading them.

This module owns the modes, and the check that the user has a home folder; any thread may call it. It must never make a
folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from parlour.wire.errors import ParlourError

__all__ = ["PRIVATE", "home_folder", "open_private"]

PRIVATE = 0o600
"""The mode of a file that only its owner may read and write."""


def home_folder(find: Callable[[str], Path], variable: str) -> Path:
    """Return parlour's folder, which `find`, a function of platformdirs, names.

    Raises ParlourError if the user has no home folder; the text names the variable to set.
    """
    try:
        path = find("parlour")
    except RuntimeError:  # from newer versions of platformdirs; older ones return a relative path
        path = Path("~")
    if not path.is_absolute():
        raise ParlourError(f"this user has no home folder: set HOME, or {variable}, to a folder of yours")
    return path


def open_private(path: str, flags: int) -> int:
    """Open a file, for `open(..., opener=open_private)`; a new file gets the mode PRIVATE."""
    return os.open(path, flags, PRIVATE)
