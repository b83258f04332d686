"""Opening a room log by its URL: the one place that knows which engines there are.

This module owns the spelling of log URLs and the default one; it runs on the thread that starts a node. It must
never create a folder that nobody asked for: only the default log's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from platformdirs import user_data_path

from parlour.node.log import LogError, RoomLog
from parlour.node.log.memory import MemoryLog
from parlour.node.log.sqlite import SqliteLog
from parlour.runtime.addresses import canonical_address
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.folders import PRIVATE, home_folder
from parlour.wire.errors import UsageError

__all__ = ["default_log", "open_log"]


def default_log(broker: str) -> tuple[str, str]:
    """Return the URL of the log that a user's nodes share at a broker unless told otherwise, with its folder made.

    The second is a line for the operator, where a log is begun beside one that may be meant, or nothing. Raises
    ParlourError if the folder cannot be made.
    """
    folder = home_folder(user_data_path, "XDG_DATA_HOME")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for file in folder.glob("rooms*.sqlite*"):
            file.chmod(PRIVATE)  # of before, when all could read them
    except OSError as error:
        raise LogError(f"cannot make the folder {folder} ({error.strerror}): make it yours, or give --log") from None
    address = canonical_address(broker)
    common = folder / "rooms.sqlite"
    if address == DEFAULT_BROKER:
        return _url_of(common), ""
    own = folder / f"rooms-{re.sub(r'[^A-Za-z0-9.]+', '-', address).strip('-')}.sqlite"
    if own.exists() or not common.exists():
        return _url_of(own), ""
    return _url_of(own), (
        f"the room log of the broker {broker} begins empty, in {own}: if what was said is to be in {common} as before, "
        f"give --log {_url_of(common)}"
    )


def _url_of(path: Path) -> str:
    return f"sqlite://{quote(str(path))}"


def open_log(url: str) -> RoomLog:
    """Open the log; raises UsageError for a URL that is none and LogError if the engine cannot open it.

    `memory://NAME` lives in this process (the same NAME is the same log), `sqlite:///PATH` in a file, with
    `?sync=full` for commits that survive power loss, `redis://[USER:PASSWORD@]HOST:PORT/DB` in a Redis or Valkey
    server or cluster, as does `rediss://` over TLS; with `?wait=N` a post is logged when N replicas have it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port if parts.scheme in ("redis", "rediss") else None
        (parts.hostname or "").encode("idna")
    except ValueError:  # brackets that do not match, a port that is no number, a host that is no name of one
        raise _usage(url) from None
    if "#" in url:
        raise UsageError("write # in the URL of a room log as %23, and ? and % in the path of a file as %3F and %25")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "memory" and not options:
        return MemoryLog.named(parts.netloc + parts.path)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/") and "%00" not in parts.path:
        sync = options.pop("sync", "normal")
        if sync in ("normal", "full") and not options:
            return SqliteLog(Path(unquote(parts.path)), sync_full=sync == "full")
    server = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch("/?|/[0-9]{1,9}", parts.path)
    wait = options.pop("wait", "0")
    if server and port != 0 and re.fullmatch("[0-9]{1,3}", wait) and not options:
        from parlour.node.log.redis import RedisLog  # its library takes long to load, and few need it

        return RedisLog(parts._replace(query="").geturl(), int(wait))
    raise _usage(url)


def _usage(url: str) -> UsageError:
    """Return the error for a URL that is none, without the password that may stand in it."""
    shown = f"{url.partition(':')[0]}:…@{url.rpartition('@')[2]}" if "@" in url else url
    return UsageError(
        "a room log is memory://, sqlite:///PATH with ?sync=full if it shall survive power loss,"
        f" or redis://HOST:PORT/DB, not {shown!r}"
    )
