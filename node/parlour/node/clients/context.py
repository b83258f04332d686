"""The parts of a node that its clients use, in one object.

This module owns that list, and the interface of admission. Instances are immutable, and any thread may call the parts
that they name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parlour.node.clients.catchup import CatchUp
from parlour.node.clients.limiter import Limiter
from parlour.node.clients.news import NewsDesk
from parlour.node.log import RoomLog
from parlour.node.people.people import People
from parlour.node.rooms.table import RoomTable
from parlour.node.settings import NodeSettings
from parlour.wire.messages import Hello

__all__ = ["Admission", "ClientContext"]


class Admission(Protocol):
    """The part of a node that admits clients and counts them."""

    def admit(self, hello: Hello) -> None:
        """Let a client with this hello in; raises ProtocolError if it may not come in now."""
        ...

    def arrived(self) -> None:
        """Count a client that has been welcomed."""
        ...

    def left(self) -> None:
        """Count a client that was welcomed and is gone."""
        ...

    def refused(self, code: str) -> None:
        """Count a connection that was refused, or that an error ended."""
        ...

    def begin_question(self) -> bool:
        """Count a question to the brokers that begins; return False if too many are open already."""
        ...

    def end_question(self) -> None:
        """Count a question to the brokers that has ended."""
        ...


@dataclass(frozen=True)
class ClientContext:
    """The parts of a node that a client uses."""

    node: str
    settings: NodeSettings
    log: RoomLog
    rooms: RoomTable
    catchup: CatchUp
    admission: Admission
    news: NewsDesk
    limiter: Limiter
    people: People
