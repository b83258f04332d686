"""The types of the fixtures `opener`, which open the room log or the directory under test.

This module owns these types alone; the fixtures are for the tests of the node and of the directory.
"""

from __future__ import annotations

from typing import Protocol

from parlour.directory.store import Store
from parlour.node.log import RoomLog

__all__ = ["Opener", "StoreOpener"]


class Opener(Protocol):
    """Opens the log under test again, as another node would."""

    def __call__(self) -> RoomLog:
        """Return the log, opened once more."""
        ...


class StoreOpener(Protocol):
    """Opens the directory's store under test again, as another node would."""

    def __call__(self) -> Store:
        """Return the store, opened once more."""
        ...
