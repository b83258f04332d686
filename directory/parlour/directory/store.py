"""The contract of the directory's engines: a small store of documents, each changed by compare and set.

This module owns the contract; any thread may call an engine. An engine must never report a change before it is stored,
nor store one whose expected version is not the current one.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from parlour.wire.errors import UnavailableError

__all__ = ["DirectoryError", "Document", "Store"]


class DirectoryError(UnavailableError):
    """The directory cannot be opened, read or changed now. A failed change may or may not be stored."""


class Document(NamedTuple):
    """A stored document.

    Attributes:
        version: a random word, new with each change.
        value: its content.
        ends: when it ends, in ms since the Unix epoch; 0 if it does not end by itself.
    """

    version: str
    value: bytes
    ends: int = 0


class Store(Protocol):
    """The contract. Every method raises DirectoryError if the engine cannot do it now, within 5 s."""

    def now(self) -> int:
        """Return the time of the clock that all nodes share, in ms since the Unix epoch."""
        ...

    def get(self, key: str) -> Document | None:
        """Return a document; None if there is none, or if it has ended."""
        ...

    def put(self, key: str, value: bytes, expected: str = "", ends: int = 0) -> str | None:
        """Store a document and return its new version; None, with nothing changed, if `expected` is not its version.

        An empty `expected` stands for a document that does not exist, or has ended. `ends` is as in `Document`.
        """
        ...

    def delete(self, key: str, expected: str) -> bool:
        """Delete a document; return False, with nothing changed, if `expected` is not its version."""
        ...

    def keys(self, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        """Return the keys with this prefix that follow `after`, in the order of their code points, at most `limit`."""
        ...

    def close(self) -> None:
        """Close the store; do not use it afterwards."""
        ...
