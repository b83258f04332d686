"""The client's side of JSON lines, for tests: it encodes messages to lines, and decodes lines of a node.

This module owns nothing else. It must never use the node's own code for JSON lines, because that is under test.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from parlour.wire.messages import NodeMessage

__all__ = ["LineDecoder", "line"]

_decode = msgspec.json.Decoder(NodeMessage).decode


def line(message: object) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"


class LineDecoder:
    """Cuts the bytes of a node into lines, and decodes each to a message."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[NodeMessage]:
        """Yield the messages that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(_decode, lines)
