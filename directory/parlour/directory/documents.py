"""Documents of one type: read as a struct, changed by compare and set until no other node was faster.

This module owns that loop; any thread may run it. It must never hold a lock: what the change needs to compute may ask
the store again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from parlour.directory.store import DirectoryError, Store

__all__ = ["Documents"]

T = TypeVar("T", bound=msgspec.Struct)

PATIENCE = 5.0
"""Seconds for which a change is tried again after other nodes were faster."""

PAUSE = 0.02
"""Seconds between two attempts, at most."""


class Documents(Generic[T]):
    """The documents whose keys begin with a prefix."""

    def __init__(self, store: Store, prefix: str, kind: type[T]) -> None:
        self._store = store
        self._prefix = prefix
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._encode = msgspec.msgpack.Encoder().encode

    def get(self, name: str) -> T | None:
        """Return a document, None if there is none; raises DirectoryError."""
        document = self._store.get(self._prefix + name)
        return None if document is None else self._decode(name, document.value)

    def change(self, name: str, work: Callable[[T | None], T | None], ends: int = 0) -> T | None:
        """Replace a document by what `work` makes of it, and return that; None stands for no document.

        `work` may be called several times, since another node may be faster; what it raises ends the change. `ends` is
        as in `Document`. Raises DirectoryError.
        """
        key, deadline = self._prefix + name, time.monotonic() + PATIENCE
        while True:
            document = self._store.get(key)
            old = None if document is None else self._decode(name, document.value)
            new = work(old)
            if new == old:
                return new
            expected = "" if document is None else document.version
            if new is None:
                done = self._store.delete(key, expected)
            else:
                done = self._store.put(key, self._encode(new), expected, ends) is not None
            if done:
                return new
            if time.monotonic() >= deadline:
                raise DirectoryError(f"too many clients change {key} in the directory at the same time: try again")
            time.sleep(random.uniform(0, PAUSE))

    def names(self, after: str = "", limit: int = 1000) -> list[str]:
        """Return the names of documents that follow `after`, in order, at most `limit`; raises DirectoryError."""
        keys = self._store.keys(self._prefix, self._prefix + after if after else "", limit)
        return [key.removeprefix(self._prefix) for key in keys]

    def _decode(self, name: str, value: bytes) -> T:
        try:
            return self._decoder.decode(value)
        except msgspec.MsgspecError as error:
            raise DirectoryError(
                f"{self._prefix}{name} in the directory is damaged ({error}): restore a backup"
            ) from None
