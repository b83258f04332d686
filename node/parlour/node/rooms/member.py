"""A client in one room, and the interfaces by which rooms know clients: `clients` implements them.

This module owns a member's position. It must never import anything of `clients`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from parlour.dialects import Variant
from parlour.node.rooms.batch import Batch, Encoded
from parlour.wire.messages import Joined

__all__ = ["NOWHERE", "Deliver", "Feed", "Member", "Subscriber"]

NOWHERE = 2**63
"""The offset of a member to whom nothing is to be sent: beyond every batch, and never behind."""


class Feed(Protocol):
    """A room, as its members and their connections see it."""

    @property
    def name(self) -> str:
        """The room's name."""
        ...

    @property
    def epoch(self) -> str:
        """The epoch of what is delivered."""
        ...

    @property
    def offset(self) -> int:
        """The offset of the last message delivered."""
        ...

    def follow(self, member: Member[Any], epoch: str, offset: int) -> Sequence[Batch] | Joined | None:
        """Return what follows a position, or the notice that there is no going on from it; raises LogError."""
        ...

    def want_roster(self, member: Member[Any], whole: bool = False) -> None:
        """Have the list of names sent to the member by the next combiner."""
        ...

    def combine_elsewhere(self) -> None:
        """Have a worker do what the room has to do."""
        ...


class Subscriber(Protocol):
    """A client's connection, as rooms see it. Nothing of it blocks."""

    @property
    def variant(self) -> Variant | None:
        """The variant that the client is sent; None: the frames. It does not change once the client is a member."""
        ...

    def answer(self, frames: bytes | Encoded) -> None:
        """Send frames that the client asked for, in their turn."""
        ...

    def tell(self, member: Member[Any], presence: Encoded) -> None:
        """Send a presence frame, or see to it that the whole list follows later."""
        ...

    def restart(self, member: Member[Any], notice: Callable[[Member[Any], str, int], Joined | None]) -> None:
        """Give the member the notice for its place, epoch and offset, and go on there."""
        ...


S = TypeVar("S", bound=Subscriber)


class Member(Generic[S]):
    """A client in one room: how far the room's messages, of which epoch, were handed to its connection.

    `epoch`, `offset`, `missed_presence` and `left` are guarded by the connection's mutex. `history` is how much a
    newcomer is shown, which it asked for when it joined; a `modern` one speaks protocol 1.1 or a later minor.
    """

    __slots__ = (
        "bot",
        "epoch",
        "history",
        "left",
        "missed_presence",
        "modern",
        "name",
        "observer",
        "offset",
        "room",
        "session",
        "subscriber",
    )

    def __init__(
        self,
        subscriber: S,
        room: Feed,
        session: str,
        name: str,
        modern: bool,
        observer: bool = False,
        bot: bool = False,
    ) -> None:
        self.subscriber = subscriber
        self.history = 0
        self.modern = modern
        self.observer = observer  # seen by nobody
        self.bot = bot
        self.room = room
        self.session = session
        self.name = name
        self.epoch = ""
        self.offset = NOWHERE
        self.missed_presence = False
        self.left = False

    @property
    def behind(self) -> bool:
        """Whether the room has gone on without the member, or begun a new epoch that it was not told of."""
        return self.offset < self.room.offset or (self.epoch != self.room.epoch and self.offset != NOWHERE)


Deliver = Callable[[Sequence[Member[Any]], Variant | None, Sequence[Batch]], int]
"""Sends members of one variant what each has not had of some batches; returns how many were not passed by."""
