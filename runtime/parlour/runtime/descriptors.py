"""How many files a process may have open: each connection is one, and the usual soft limit is far too low.

This module owns that one setting; it is called once, at the start of a command. It must never ask for more than the
system allows.
"""

from __future__ import annotations

import resource

__all__ = ["raise_limit"]


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
