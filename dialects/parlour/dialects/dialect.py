"""What a dialect is: the contract between a node, which speaks wire messages, and the bytes of a connection.

This module owns the protocols that each dialect fulfils; implementations are pure, and run on whatever thread calls
them. It must never learn of one dialect more than of another.

A node makes frames of all it has to say, and keeps frames in its log. A *variant* is another encoding of the same
messages: it turns frames into the bytes that all clients of that variant are sent, once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from parlour.wire.messages import ClientMessage, Error

__all__ = ["Dialect", "Encoding", "Variant"]


class Encoding(NamedTuple):
    """Some messages in a variant: the bytes, and where in them each message ends.

    `ends` has one index for each frame that was encoded. An index repeats the one before it if the variant shows
    nothing of that message.
    """

    data: bytes
    ends: Sequence[int]


class Variant(Protocol):
    """An encoding of what a node says, the same for all clients that use it: stateless and hashable."""

    def encode(self, frames: bytes | memoryview) -> Encoding:
        """Return the messages in joined frames in this variant; the frames are our own, or checked by the relay."""
        ...


class Dialect(Protocol):
    """What one connection speaks: it reads what the client sends, and may keep state from one call to the next."""

    @property
    def variant(self) -> Variant | None:
        """The variant that the client is sent; None if it is sent the frames themselves."""
        ...

    @property
    def tolerant(self) -> bool:
        """Whether the connection goes on after the client has sent something wrong."""
        ...

    def feed(self, data: bytes) -> Iterator[ClientMessage | Error]:
        """Yield the messages that `data` completes, in order; read the iterator to its end before the next call.

        An `Error` stands in the place of something wrong that the client sent: it is to be sent to the client when
        the messages before it have been handled. Raises ProtocolError, after the messages before it, if the
        connection cannot go on.
        """
        ...
