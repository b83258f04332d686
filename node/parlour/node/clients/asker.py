"""What the handlers of asks know of a session, and how they refuse.

This module owns the interface; handlers run on the client's own thread and may wait for a store. It must never import
the session.
"""

from __future__ import annotations

from typing import Protocol

from parlour.node.clients.context import ClientContext
from parlour.node.rooms.room import Room
from parlour.wire.errors import ParlourError
from parlour.wire.messages import NodeMessage
from parlour.wire.people import Person

__all__ = ["Asker", "RefusedAskError"]


class RefusedAskError(ParlourError):
    """The node does not do what the client asked.

    Attributes:
        code: a stable word for programs; docs/protocol.md lists them.
        retry_after: seconds after which the same ask may succeed; None if it will not.
        name: a free name that is like the one that the client wanted.
    """

    def __init__(self, code: str, text: str, retry_after: float | None = None, name: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after
        self.name = name


class Asker(Protocol):
    """The session of the client that asks."""

    @property
    def context(self) -> ClientContext:
        """The parts of the node."""
        ...

    @property
    def id(self) -> str:
        """The session's id."""
        ...

    @property
    def identity(self) -> str:
        """The identity of the person, see `wire.direct`."""
        ...

    @property
    def person(self) -> Person:
        """Who the client is."""
        ...

    @property
    def observer(self) -> bool:
        """Whether the client only listens, and so has no name of its own."""
        ...

    @property
    def rooms(self) -> list[Room]:
        """The rooms that the client is in."""
        ...

    def room(self, name: str) -> Room | None:
        """Return a room that the client is in, else None."""
        ...

    def become(self, person: Person) -> None:
        """Show the client as this person from now on, in all its rooms."""
        ...

    def answer(self, message: NodeMessage) -> None:
        """Send the client a message, after those that wait already."""
        ...
