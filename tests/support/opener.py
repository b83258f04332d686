"""The type of the fixture `opener`, which opens the room log under test.

This module owns that type alone; the fixture is for the tests of the node.
"""

from __future__ import annotations

from typing import Protocol

from parlour.node.log import RoomLog

__all__ = ["Opener"]


class Opener(Protocol):
    """Opens the log under test again, as another node would."""

    def __call__(self) -> RoomLog:
        """Return the log, opened once more."""
        ...
