"""What the clients of a node need of the node, in one piece.

This module owns nothing but that list; instances are immutable, and what they name may be called by any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parlour.node.clients.catchup import CatchUp
from parlour.node.log import RoomLog
from parlour.node.rooms.table import RoomTable
from parlour.node.settings import NodeSettings
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Hello

__all__ = ["Admission", "ClientContext", "RefusedClientError"]


class RefusedClientError(ProtocolError):
    """The connection ends here, and the client is told why, and in how many seconds it may come again if it may."""

    def __init__(self, code: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text, code)
        self.retry_after = retry_after


class Admission(Protocol):
    """Who lets clients in, and counts them."""

    def admit(self, hello: Hello) -> None:
        """Let a client in that has said this; raises ProtocolError if it may not come in now."""
        ...

    def arrived(self) -> None:
        """Count a client that has been welcomed."""
        ...

    def left(self) -> None:
        """Count a client that was welcomed and is gone."""
        ...

    def refused(self, code: str) -> None:
        """Count a connection that was refused, or ended for an error."""
        ...


@dataclass(frozen=True)
class ClientContext:
    """What a client needs of its node."""

    node: str
    settings: NodeSettings
    log: RoomLog
    rooms: RoomTable
    catchup: CatchUp
    admission: Admission
