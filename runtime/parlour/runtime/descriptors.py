"""The limit of open files of a process: each connection is one, and the usual soft limit is far too low.

This module owns the limit and the check of what is left of it; any thread may check. It must never ask for more than
the system allows.
"""

from __future__ import annotations

import os
import resource

__all__ = ["can_open", "raise_limit"]


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def can_open(files: int) -> bool:
    """Whether the process may open this many more files now."""
    opened: list[int] = []
    try:
        for _ in range(files):
            opened.append(os.eventfd(0, os.EFD_CLOEXEC))
    except OSError:
        return False
    finally:
        for each in opened:
            os.close(each)
    return True
