"""Opening a room log by its URL: the one place that knows all engines.

This module owns the choice of the engine; it runs on the thread that starts a node.
"""

from __future__ import annotations

from pathlib import Path

from parlour.node.log import RoomLog
from parlour.node.log.memory import MemoryLog
from parlour.node.log.sqlite import SqliteLog
from parlour.runtime.log_urls import parse_log_url

__all__ = ["open_log"]


def open_log(url: str) -> RoomLog:
    """Open the log at a URL, whose syntax `parse_log_url` tells.

    Raises UsageError for a malformed URL and LogError if the engine cannot open it.
    """
    where = parse_log_url(url)
    if where.engine == "memory":
        return MemoryLog.named(where.place)
    if where.engine == "sqlite":
        return SqliteLog(Path(where.place), sync_full=where.sync_full)
    from parlour.node.log.redis import RedisLog  # its library loads slowly, and most nodes do not need it

    return RedisLog(where.place, where.wait)
