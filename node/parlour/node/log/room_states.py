"""The states of rooms as a log keeps them: documents that become room states.

This module owns the reading of such a document; any thread may call it. It must never take a damaged one for a room
without a state.
"""

from __future__ import annotations

from parlour.node.log import LogError, RoomLog
from parlour.wire.errors import ProtocolError
from parlour.wire.room_state import EMPTY, RoomState

__all__ = ["decode_state", "state_of"]


def decode_state(room: str, document: bytes) -> RoomState:
    """Return the state of a room that has this document, which is empty if it has no state; raises LogError."""
    try:
        return RoomState.decode(document) if document else EMPTY
    except ProtocolError as error:
        raise LogError(f"the state of the room {room} is damaged ({error}): restore a backup") from None


def state_of(log: RoomLog, room: str) -> RoomState:
    """Return the state that a room has in the log now; raises LogError."""
    _, document = log.state(room)
    return decode_state(room, document)
