"""A directory in the memory of this process, for tests and for nodes whose room log is in memory.

This module owns the engine behind `memory://`; any thread may call it. It must never be used by nodes in several
processes: each would have a directory of its own.
"""

from __future__ import annotations

import heapq
import secrets
import time
from typing import ClassVar
from weakref import WeakValueDictionary

from parlour.directory.store import Document
from parlour.runtime.locks import make_lock

__all__ = ["MemoryStore"]


class MemoryStore:
    """The engine behind `memory://`."""

    _named: ClassVar[WeakValueDictionary[str, MemoryStore]] = WeakValueDictionary()

    def __init__(self) -> None:
        # Guards _documents and _ending. Rank 78.
        self._mutex = make_lock(78, "memory directory")
        self._documents: dict[str, Document] = {}
        self._ending: list[tuple[int, str]] = []  # a heap: when documents end, or would have before they were changed

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return the store of this name in this process; with an empty name, a new one each time."""
        if not name:
            return cls()
        return cls._named.setdefault(name, cls())

    def now(self) -> int:
        """Return this machine's time; see `Store.now`."""
        return time.time_ns() // 1_000_000

    def get(self, key: str) -> Document | None:
        """Return a document; see `Store.get`."""
        with self._mutex:
            return self._current(key)

    def put(self, key: str, value: bytes, expected: str = "", ends: int = 0) -> str | None:
        """Store a document; see `Store.put`."""
        version = secrets.token_hex(8)
        with self._mutex:
            current = self._current(key)
            if (current.version if current else "") != expected:
                return None
            self._documents[key] = Document(version, value, ends)
            if ends:
                heapq.heappush(self._ending, (ends, key))
            self._forget()
        return version

    def delete(self, key: str, expected: str) -> bool:
        """Delete a document; see `Store.delete`."""
        with self._mutex:
            current = self._current(key)
            if current is None or current.version != expected:
                return False
            del self._documents[key]
        return True

    def keys(self, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        """Return keys; see `Store.keys`."""
        with self._mutex:
            keys = sorted(key for key in self._documents if key.startswith(prefix) and key > after)
            return [key for key in keys if self._current(key)][:limit]

    def close(self) -> None:
        """Do nothing: the documents live as long as somebody refers to the store."""

    def _forget(self) -> None:
        """Remove the documents that have ended. The caller holds the mutex."""
        now = self.now()
        while self._ending and self._ending[0][0] <= now:
            _, key = heapq.heappop(self._ending)
            if key in self._documents and not self._current(key):
                del self._documents[key]

    def _current(self, key: str) -> Document | None:
        """Return a document that has not ended. The caller holds the mutex."""
        document = self._documents.get(key)
        return document if document is not None and not 0 < document.ends <= self.now() else None
