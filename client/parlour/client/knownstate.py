"""The state of one room as its client knows it: the node's answer, and the state records that came after it.

This module owns the rule by which both fit together. It is pure: the room calls it under the room's lock. It must never
fold a record into a state that lacks an earlier one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from parlour.wire import room_state as wire
from parlour.wire.errors import ProtocolError
from parlour.wire.messages import Message
from parlour.wire.records import STATE_KINDS
from parlour.wire.skeleton import skeleton

__all__ = ["KnownState", "shown_settings"]

KEPT = 100
"""State records that are remembered until the node has answered: they may be newer than its answer."""


class _Told(Struct):
    """The data of a node's answer to the ask `state`, without the fields that no client keeps; see docs/protocol.md."""

    version: int = 0
    owner: str = ""
    roles: dict[str, str] = {}
    topic: str = ""
    topic_by: str = ""
    topic_at: int = 0
    settings: dict[str, Any] = {}


class KnownState:
    """The state of one room as far as the client knows it: not its bans, mutes and invitations.

    Attributes:
        state: the state by the last answer and the records since then; None before the first answer.
        fresh: whether no record can be missing.
        joins: how often the client joined the room: each time records may be missing, until the node is asked again.
    """

    def __init__(self) -> None:
        self.state: wire.RoomState | None = None
        self.fresh = False
        self.joins = 0
        self._epoch: str | None = None
        self._latest: deque[Message] = deque(maxlen=KEPT)

    def joined(self, epoch: str) -> None:
        """Handle that the room was joined, for the first time or again."""
        self.joins += 1
        self.fresh = False
        if epoch != self._epoch:
            self._epoch, self.state = epoch, None
            self._latest.clear()

    def record(self, message: Message, epoch: str | None) -> None:
        """Handle a record of this epoch, of any kind."""
        if message.kind not in STATE_KINDS or epoch is None or epoch != self._epoch:
            return
        self._latest.append(message)
        if self.state is not None and self.fresh and message.offset > self.state.version:
            self.state = wire.fold(self.state, message)

    def answered(self, data: Mapping[str, Any], joins: int) -> None:
        """Handle the node's answer to `state`, which was asked after so many joins; raises ProtocolError."""
        if joins != self.joins:
            return
        try:
            told = msgspec.convert(data, _Told)
            settings = {**told.settings, "password": "set" if told.settings.get("password") else ""}
            state = wire.RoomState(
                told.version,
                skeleton(told.owner),
                {skeleton(name): wire.Role(name, role) for name, role in told.roles.items()},
                told.topic,
                told.topic_by,
                told.topic_at,
                msgspec.convert(settings, wire.Settings),
            )
        except msgspec.ValidationError as error:
            raise ProtocolError(f"the node tells a state of the room that cannot be read: {error}") from None
        for message in self._latest:
            if message.offset > state.version:
                state = wire.fold(state, message)
        self.state, self.fresh = state, True


def shown_settings(state: wire.RoomState) -> dict[str, Any]:
    """Return the settings of a state as the ask `state` tells them."""
    return {**msgspec.structs.asdict(state.settings), "password": bool(state.settings.password)}
