"""Opening a room log by its URL: the one place that knows which engines there are.

This module owns the spelling of log URLs and the default one; it runs on the thread that starts a node. It must
never create a folder that nobody asked for: only the default log's own.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from platformdirs import user_data_path

from parlour.node.log import RoomLog
from parlour.node.log.memory import MemoryLog
from parlour.node.log.sqlite import SqliteLog
from parlour.wire.errors import UsageError

__all__ = ["default_log", "open_log"]


def default_log() -> str:
    """Return the URL of the log that all nodes of a user share unless told otherwise, with its folder made."""
    folder = user_data_path("parlour")
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite://{folder / 'rooms.sqlite'}"


def open_log(url: str) -> RoomLog:
    """Open the log; raises UsageError for a URL that is none and LogError if the engine cannot open it.

    `memory://NAME` lives in this process (the same NAME is the same log), `sqlite:///PATH` in a file, with
    `?sync=full` for commits that survive power loss.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "memory" and not options:
        return MemoryLog.named(parts.netloc + parts.path)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/"):
        sync = options.pop("sync", "normal")
        if sync in ("normal", "full") and not options:
            return SqliteLog(Path(unquote(parts.path)), sync_full=sync == "full")
    raise UsageError(
        f"a room log is memory://, or sqlite:///PATH with ?sync=full if it shall survive power loss, not {url!r}"
    )
