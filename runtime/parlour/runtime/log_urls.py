"""The URLs of room logs: their syntax, the default URL of a user, and how a URL is shown.

The URL of the room log also says where the directory is. Any thread may call this module. It must never create a folder
except that of the default log, nor show a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from platformdirs import user_data_path

from parlour.runtime.addresses import canonical_address
from parlour.runtime.broker_rpc import DEFAULT_BROKER
from parlour.runtime.folders import PRIVATE, home_folder
from parlour.wire.errors import UnavailableError, UsageError

__all__ = ["LogUrl", "default_log", "parse_log_url", "shown_log_url"]


class LogUrl(NamedTuple):
    """The parts of a room log's URL.

    Attributes:
        engine: `"memory"`, `"sqlite"` or `"redis"`.
        place: the name of a log in memory, the path of a file, or the URL of a server without its options.
        sync_full: whether commits to a file survive power loss.
        wait: how many replicas of a server must have a change.
    """

    engine: str
    place: str
    sync_full: bool = False
    wait: int = 0


def parse_log_url(url: str) -> LogUrl:
    """Return the parts of a URL; raises UsageError if it is malformed.

    - `memory://NAME` is in this process; the same NAME gives the same log.
    - `sqlite:///PATH` is in a file; with `?sync=full` commits survive power loss.
    - `redis://[USER:PASSWORD@]HOST:PORT/DB` is in a Redis or Valkey server or cluster, `rediss://` the same over TLS;
      with `?wait=N` a change counts when N replicas have it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port if parts.scheme in ("redis", "rediss") else None
        (parts.hostname or "").encode("idna")
    except ValueError:  # unbalanced brackets, a port that is not a number, an invalid host name
        raise _usage(url) from None
    if "#" in url:
        raise UsageError("write # in the URL of a room log as %23, and ? and % in the path of a file as %3F and %25")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "memory" and not options:
        return LogUrl("memory", parts.netloc + parts.path)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/") and "%00" not in parts.path:
        sync = options.pop("sync", "normal")
        if sync in ("normal", "full") and not options:
            return LogUrl("sqlite", unquote(parts.path), sync_full=sync == "full")
    server = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch("/?|/[0-9]{1,9}", parts.path)
    wait = options.pop("wait", "0")
    if server and port != 0 and re.fullmatch("[0-9]{1,3}", wait) and not options:
        return LogUrl("redis", parts._replace(query="").geturl(), wait=int(wait))
    raise _usage(url)


def default_log(broker: str) -> tuple[str, str]:
    """Return the URL of the default log of a user's nodes at this broker, and a line for the operator or "".

    Makes the log's folder; raises ParlourError if it cannot. The line warns that a new log begins although the user
    already has one, which the user may mean.
    """
    folder = home_folder(user_data_path, "XDG_DATA_HOME")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for file in folder.glob("rooms*.sqlite*"):
            file.chmod(PRIVATE)  # older versions left the files readable by others
    except OSError as error:
        raise UnavailableError(
            f"cannot make the folder {folder} ({error.strerror}): make it yours, or give --log"
        ) from None
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


def shown_log_url(url: str) -> str:
    """Return a URL as it may be shown: without the user and the password of a server."""
    has_secret = "@" in url and not url.startswith("sqlite:")
    return f"{url.partition(':')[0]}:…@{url.rpartition('@')[2]}" if has_secret else url


def _usage(url: str) -> UsageError:
    return UsageError(
        "a room log is memory://, sqlite:///PATH with ?sync=full if it shall survive power loss,"
        f" or redis://HOST:PORT/DB, not {shown_log_url(url)!r}"
    )
