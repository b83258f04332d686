"""A directory in Redis or Valkey, shared by nodes and commands on many machines: in one server, or in a Redis Cluster.

This module owns the map from hash slots to servers, and follows documents that move; any thread may call it. It must
never report a change that the server did not acknowledge.

Each document is one key, so a cluster needs no transaction over several servers. The writer chooses the version of its
change. So a change whose outcome is unknown, because a connection broke, is safe to repeat: the script sees that the
document already has this version. For this a deleted document stays for a minute as one that has ended.
"""

from __future__ import annotations

import re
import secrets
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, MovedError

from parlour.directory.redis_server import DELETED, HEAD, VERSION, DirectoryServer
from parlour.directory.store import DirectoryError, Document
from parlour.runtime.locks import make_lock
from parlour.runtime.redis_client import ANSWER

__all__ = ["RedisStore"]

T = TypeVar("T")

PREFIX = "parlour:directory:"
"""What the names of all keys begin with."""

LISTED = 10.0
"""Longest time, in seconds, for which the keys that a scan found serve further pages."""

ASKED = 1000
"""Documents about which a server is asked at once, at most."""


class RedisStore:
    """The engine behind `redis://HOST:PORT/DB` and, over TLS, `rediss://HOST:PORT/DB`."""

    def __init__(self, url: str, wait: int = 0) -> None:
        """Connect; raises DirectoryError if no server answers. A change counts when `wait` replicas have it."""
        self._wait = wait
        # Guards _servers. Rank 74.
        self._mutex = make_lock(74, "redis directory's servers")
        self._servers: dict[str, DirectoryServer] = {}
        self._listing: tuple[str, str, list[str], float] = ("", "", [], 0.0)
        self._home = self._at(url)
        # Any thread may replace a slot's server. A thread that still asks the old one gets a MOVED error.
        self._slots = [self._home] * REDIS_CLUSTER_HASH_SLOTS
        try:
            info: dict[str, Any] = self._home.ask(("INFO", "cluster"))
            self._clustered = bool(info.get("cluster_enabled"))
            if self._clustered:
                self._look()
        except BaseException:
            self.close()
            raise

    # --- the contract -----------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the time of one server; see `Store.now`."""
        seconds, micros = self._call(PREFIX, lambda server, asking: server.ask(("TIME",)))
        return int(seconds) * 1000 + int(micros) // 1000

    def get(self, key: str) -> Document | None:
        """Return a document; see `Store.get`."""
        name = PREFIX + key
        stored: bytes | None = self._call(name, lambda server, asking: server.ask(("GET", name), asking))
        if stored is None or stored[VERSION:HEAD] == DELETED.encode():
            return None
        return Document(stored[:VERSION].decode(), stored[HEAD:], int(stored[VERSION:HEAD]))

    def put(self, key: str, value: bytes, expected: str = "", ends: int = 0) -> str | None:
        """Store a document; see `Store.put`."""
        version = secrets.token_hex(VERSION // 2)
        return version if self._change(key, version, expected, f"{ends:016}", value) else None

    def delete(self, key: str, expected: str) -> bool:
        """Delete a document; see `Store.delete`."""
        return bool(expected) and self._change(key, secrets.token_hex(VERSION // 2), expected, DELETED, b"")

    def keys(self, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        """Return keys; see `Store.keys`. Further pages come from the scan of the first page.

        A scan looks at all keys of all servers: half a second for 300,000 keys. It may miss documents that are just
        moved from one server to another.
        """
        scanned, served, listed, until = self._listing
        first = bisect_right(listed, after)
        # Only a caller that has got a key from the scan goes on with it; any other shall see what is there now.
        known = scanned == prefix and first > 0 and listed[first - 1] == after <= served
        if not known or time.monotonic() > until:
            listed, until = sorted(self._scan(prefix)), time.monotonic() + LISTED
            first = bisect_right(listed, after)
        page: list[str] = []
        while first < len(listed) and len(page) < limit:
            part = listed[first : first + min(limit - len(page), ASKED)]
            page += self._living(part)
            first += len(part)
        self._listing = (prefix, page[-1] if page else "", listed, until)
        return page

    def close(self) -> None:
        """Close all connections; see `Store.close`."""
        with self._mutex:
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    # --- listing ----------------------------------------------------------------------------------------------

    def _scan(self, prefix: str) -> set[str]:
        """Return all keys with this prefix; raises DirectoryError if a server does not answer."""
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", PREFIX + prefix) + "*"
        if self._clustered:
            self._look()
        found: set[str] = set()
        for server in set(self._slots):
            cursor = 0
            while True:
                cursor, names = server.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", 1000))
                found.update(name.decode().removeprefix(PREFIX) for name in names)
                if not int(cursor):
                    break
        return found

    def _living(self, keys: Iterable[str]) -> list[str]:
        """Return the keys whose documents are not deleted; the others stay for a minute, see above."""
        grouped: dict[DirectoryServer, list[str]] = {}
        for key in keys:
            grouped.setdefault(self._server(_slot(PREFIX + key)), []).append(key)
        living: list[str] = []
        for server, group in grouped.items():
            ends = server.ask_all([("GETRANGE", PREFIX + key, VERSION, HEAD - 1) for key in group])
            # An empty answer is that of a document that has ended since the scan; an error, of one that has moved.
            living += [key for key, end in zip(group, ends, strict=True) if end not in (b"", DELETED.encode())]
        return sorted(living)

    # --- where the documents are ------------------------------------------------------------------------------

    def _change(self, key: str, *arguments: str | bytes) -> bool:
        name = PREFIX + key
        return self._call(name, lambda server, asking: server.change(name, arguments, asking))

    def _call(self, name: str, work: Callable[[DirectoryServer, bool], T]) -> T:
        """Do work about one key on the server that has it, following the key if it moves; raises DirectoryError."""
        deadline, slot, asking = time.monotonic() + ANSWER, _slot(name), False
        server = self._server(slot)
        while True:
            try:
                return work(server, asking)
            except AskError as moved:
                if time.monotonic() > deadline:
                    raise server.explain(moved) from None
                server, asking = self._at(server.peer(moved.host, moved.port)), not isinstance(moved, MovedError)
                if not asking:
                    self._slots[slot] = server
            time.sleep(0.001)  # if the servers do not agree yet

    def _server(self, slot: int) -> DirectoryServer:
        """Return the server that has a slot, by the map."""
        lost = self._slots[slot]
        if lost.lost and self._clustered:
            lost.lost = False
            self._look(lost)
        return self._slots[slot]

    def _look(self, lost: DirectoryServer | None = None) -> None:
        """Get the map of slots from the first server that answers; lost servers are asked last."""
        with self._mutex:
            servers = sorted(self._servers.values(), key=lambda server: server is lost or server.lost)
        for server in servers:
            try:
                for first, last, (host, port, *_), *_ in server.ask(("CLUSTER", "SLOTS")):
                    self._slots[first : last + 1] = [self._at(server.peer(host, port))] * (last + 1 - first)
                return
            except DirectoryError:
                continue

    def _at(self, url: str) -> DirectoryServer:
        """Return the server at a URL."""
        with self._mutex:
            if url not in self._servers:
                self._servers[url] = DirectoryServer(url, self._wait)
            return self._servers[url]


def _slot(name: str) -> int:
    return int(key_slot(name.encode()))
