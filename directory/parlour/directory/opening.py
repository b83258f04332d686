"""Opening a directory by the URL of the room log that it stands beside: the one place that knows all engines.

This module owns the choice of the engine and the name of the file; any thread may call it.
"""

from __future__ import annotations

from pathlib import Path

from parlour.directory.memory import MemoryStore
from parlour.directory.sqlite import SqliteStore
from parlour.directory.store import Store
from parlour.runtime.log_urls import LogUrl, parse_log_url

__all__ = ["new_file", "open_store"]

_ENDING = "-people"
"""What the name of the file has more than that of the room log."""


def open_store(log_url: str) -> Store:
    """Open the directory beside the room log at a URL, whose syntax `parse_log_url` tells.

    Raises UsageError for a malformed URL and DirectoryError if the engine cannot open it.
    """
    where = parse_log_url(log_url)
    if where.engine == "memory":
        return MemoryStore.named(where.place)
    if where.engine == "sqlite":
        return SqliteStore(_file(where), sync_full=where.sync_full)
    from parlour.directory.redis import RedisStore  # its library loads slowly, and most nodes do not need it

    return RedisStore(where.place, where.wait)


def new_file(log_url: str) -> str:
    """Return the path of the file that `open_store` would make, or "" if it would make none."""
    where = parse_log_url(log_url)
    return str(_file(where)) if where.engine == "sqlite" and not _file(where).exists() else ""


def _file(where: LogUrl) -> Path:
    return Path(f"{where.place}{_ENDING}")
