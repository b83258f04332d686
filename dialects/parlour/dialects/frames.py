"""The frames dialect: four bytes of length, then a MessagePack map; what parlour's own clients speak.

This module owns only the adapter: framing and decoding are `wire.codec`'s. It runs on the client's thread, and must
never keep more than the codec does, an unfinished frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from parlour.dialects.dialect import Variant
from parlour.wire.codec import ClientDecoder
from parlour.wire.messages import ClientMessage

__all__ = ["FramesDialect"]


class FramesDialect:
    """Frames both ways. After a wrong frame the stream cannot be trusted any more, so the connection ends."""

    variant: Variant | None = None
    tolerant = False

    def __init__(self) -> None:
        self._decoder = ClientDecoder()

    def feed(self, data: bytes) -> Iterator[ClientMessage]:
        """Yield the messages that `data` completes; raises ProtocolError at the first frame that is wrong."""
        return self._decoder.feed(data)
