"""The client's side of JSON lines, for tests: messages to lines, and what a node sends back to messages.

This module owns nothing else. It must never use the node's own code for JSON lines, which is what is tested.
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
    """Cuts what a node sends into lines, and reads each as a message."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[NodeMessage]:
        """Yield the messages that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(_decode, lines)
