"""A client in one room, and the interfaces by which rooms know clients. The folder `clients` implements them.

This module owns a member's position. It must never import anything from `clients`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from parlour.dialects import Variant
from parlour.node.rooms.batch import Batch, Encoded
from parlour.wire.messages import Joined
from parlour.wire.people import Person

__all__ = ["NOWHERE", "Deliver", "Feed", "Member", "Subscriber"]

NOWHERE = 2**63
"""The offset of a member that receives nothing: it is above every batch, so the member never is behind."""


class Feed(Protocol):
    """A room, as its members and their connections see it."""

    @property
    def name(self) -> str:
        """The room's name."""
        ...

    @property
    def epoch(self) -> str:
        """The epoch in which the room delivers."""
        ...

    @property
    def offset(self) -> int:
        """The offset of the last message delivered."""
        ...

    def follow(self, member: Member[Any], epoch: str, offset: int) -> Sequence[Batch] | Joined | None:
        """Return the batches after a position, or the notice that names another position; raises LogError."""
        ...

    def want_roster(self, member: Member[Any], whole: bool = False) -> None:
        """Have the next combiner send the list of names to the member."""
        ...

    def combine_elsewhere(self) -> None:
        """Have a worker do the room's pending work."""
        ...


class Subscriber(Protocol):
    """A client's connection, as rooms see it. No method blocks."""

    @property
    def variant(self) -> Variant | None:
        """The variant that the client receives; None: frames. It does not change once the client is a member."""
        ...

    def answer(self, frames: bytes | Encoded) -> None:
        """Send frames that the client asked for, in their turn."""
        ...

    def send_presence(self, member: Member[Any], presence: Encoded) -> None:
        """Send a presence frame; if that is not possible now, have the whole list follow later."""
        ...

    def show_out(self, member: Member[Any], notice: bytes) -> None:
        """Send the frames of a notice, and nothing more of the room; the client's session drops the member later."""
        ...

    def restart(self, member: Member[Any], notice: Callable[[Member[Any], str, int], Joined | None]) -> None:
        """Send the member the notice for its epoch and offset, and continue at the position that the notice names."""
        ...


S = TypeVar("S", bound=Subscriber)


class Member(Generic[S]):
    """A client in one room. `epoch` and `offset` are its position: messages up to there were given to its connection.

    The connection's mutex guards `epoch`, `offset`, `missed_presence` and `left`. The room's mutex guards `shown_out`:
    the room has removed the member, which never comes back; its client needs another. `history` is the number of old
    messages that the client asked for when it joined. A `modern` member speaks protocol 1.1 or a later minor version.
    """

    __slots__ = (
        "bot",
        "epoch",
        "history",
        "left",
        "missed_presence",
        "modern",
        "observer",
        "offset",
        "person",
        "room",
        "session",
        "shown_out",
        "subscriber",
    )

    def __init__(
        self,
        subscriber: S,
        room: Feed,
        session: str,
        person: Person,
        modern: bool,
        observer: bool = False,
        bot: bool = False,
    ) -> None:
        self.subscriber = subscriber
        self.history = 0
        self.modern = modern
        self.observer = observer  # not shown to other members
        self.bot = bot
        self.room = room
        self.session = session
        self.person = person  # replaced, never changed, when the person takes another name or signs up
        self.epoch = ""
        self.offset = NOWHERE
        self.missed_presence = False
        self.left = False
        self.shown_out = False

    @property
    def name(self) -> str:
        """The name that others see."""
        return self.person.name

    @property
    def behind(self) -> bool:
        """Whether the room has delivered messages, or begun an epoch, that the member has not received yet."""
        return self.offset < self.room.offset or (self.epoch != self.room.epoch and self.offset != NOWHERE)


Deliver = Callable[[Sequence[Member[Any]], Variant | None, Sequence[Batch]], tuple[int, int]]
"""Sends batches to members of one variant, to each the part that it lacks; returns how many it did not pass by, and the
bytes for these."""
