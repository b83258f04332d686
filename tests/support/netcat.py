"""A client of JSON lines by hand, as a person with `nc` is: no broker, no ticket, no library.

This module owns nothing that outlives a `with` block. It must never use the node's own code for JSON lines.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parlour.node import Node
from parlour.wire.limits import parse_address
from support.waiting import MS

__all__ = ["Netcat", "netcat"]


class Netcat:
    """A connection that speaks lines, as `nc` does: no ticket, no library."""

    def __init__(self, node: Node) -> None:
        self.socket = socket.create_connection(parse_address(node.address), 20_000 * MS)
        self._file = self.socket.makefile("rb")

    def send(self, *lines: object) -> None:
        """Send lines in one piece; all but bytes are encoded as JSON first."""
        self.socket.sendall(b"".join(x if isinstance(x, bytes) else json.dumps(x).encode() + b"\n" for x in lines))

    def read(self) -> dict[str, Any]:
        """Return the next object; empty at the end."""
        line = self._file.readline()
        return json.loads(line) if line else {}

    def get(self, kind: str) -> dict[str, Any]:
        """Return the next object of this type; drop those before it."""
        while (found := self.read())["type"] != kind:
            pass
        return found


@contextmanager
def netcat(node: Node) -> Iterator[Netcat]:
    """Connect to a node."""
    nc = Netcat(node)
    with nc.socket, nc._file:
        yield nc
