"""A connection to a node in JSON lines, and the ways to get one, as a program without the library has them.

This module owns the socket and the bytes of an incomplete line. The thread that makes a connection uses it alone. It
must never read or write messages with code of the library or the node, since that code is on trial.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from parlour.chaos.requests import Door
from parlour.client.errors import NodeError
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import ParlourError
from parlour.wire.limits import PROTOCOL, parse_address

__all__ = ["SILENT", "Entrance", "JsonConnection", "refusal"]

REACHING = 5.0
"""Seconds within which a node must accept the connection, and again for its first message."""

QUIET, SILENT = 15.0, 45.0
"""Seconds without a byte from the node until the client sends a ping, and until it gives the node up."""

CHUNK = 64 * 1024


class JsonConnection:
    """A connection to the node at an address; raises OSError if the node cannot be reached.

    Attributes:
        node: the node's name, after its `welcome`.
        session: the client's session, after the `welcome`.
        messages: messages from the node that nobody has taken yet.
        silent_at: when to give the node up, in monotonic seconds.
        ping_at: when to send a ping, in monotonic seconds.
    """

    def __init__(self, address: str) -> None:
        self.socket = socket.create_connection(parse_address(address), REACHING)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.node = self.session = ""
        self.messages: deque[dict[str, Any]] = deque()
        self._rest = b""
        self._heard()

    def send(self, kind: str, /, **fields: object) -> None:
        """Send a message of this type; raises OSError if the connection is lost."""
        self.socket.sendall(json.dumps({"type": kind, **fields}, ensure_ascii=False).encode() + b"\n")

    def read(self) -> None:
        """Read at least one byte; raises OSError if the connection is lost."""
        data = self.socket.recv(CHUNK)
        if not data:
            raise ConnectionError("the node closed the connection")
        self._heard()
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.messages.extend(map(json.loads, lines))

    def _heard(self) -> None:
        now = time.monotonic()
        self.ping_at, self.silent_at = now + QUIET, now + SILENT

    def answer(self) -> dict[str, Any]:
        """Return the next message; raises NodeError if it is an error, OSError if the connection is lost."""
        while not self.messages:
            self.read()
        message = self.messages.popleft()
        if message["type"] == "error":
            raise refusal(message)
        return message

    def greet(self, name: str, key: str, ticket: str = "", **proof: str) -> None:
        """Say hello and wait for the welcome; raises as `answer` does. `proof` signs the client in."""
        self.send("hello", name=name, key=key, **({"ticket": ticket} if ticket else {}), **proof)
        welcome = self.answer()
        self.node, self.session = welcome["node"], welcome["session"]
        self.socket.settimeout(SILENT)

    def close(self, politely: bool = False) -> None:
        """Close the connection, after a `bye` if `politely` says so."""
        if politely:
            with suppress(OSError):
                self.send("bye")
        self.socket.close()


def refusal(error: Mapping[str, Any]) -> NodeError:
    """Return the exception for a message `error`."""
    return NodeError(error["text"], error["code"], error.get("retry_after"))


@dataclass
class Entrance:
    """The way in of one client."""

    name: str
    key: str
    door: Door
    brokers: Sequence[str]
    nodes: Mapping[str, str]
    """The addresses of the nodes, by name."""
    proof: Mapping[str, str] = field(default_factory=dict)
    """The fields of `hello` that sign the client in."""
    failed: list[str] = field(default_factory=list)
    """The names of the nodes that failed since the client was last connected."""
    _turn_at: str | None = None  # the broker that reserved a turn for the client

    def enter(self) -> JsonConnection:
        """Try once to enter; raises OSError or NodeError if a node is at fault, ParlourError if the brokers are."""
        if len(self.failed) >= len(self.nodes):
            self.failed = []
        if self.door is Door.BROKER:
            return self._assigned()
        node = random.choice([node for node in self.nodes if node not in self.failed])
        if self.door is Door.NODE:
            return self.dial(node, self.nodes[node])
        entry = self._ask(node)
        if entry["node"] in self.failed:
            return self.dial(node, self.nodes[node])
        return self.dial(entry["node"], entry["address"], entry["ticket"])

    def _assigned(self) -> JsonConnection:
        try:
            assign = Assign(self.name, failed=self.failed, protocol=PROTOCOL)
            _, reply = ask(self.brokers, assign, first=self._turn_at)
        except RefusedError as refused:
            self.failed, self._turn_at = [], refused.turn_at
            raise
        if not isinstance(reply, Assigned):
            raise ParlourError(f"a broker answered {reply}, not where to go")
        return self.dial(reply.node, reply.address, reply.ticket)

    def _ask(self, node: str) -> dict[str, Any]:
        """Ask a node where to enter; raises OSError or NodeError."""
        connection: JsonConnection | None = None
        try:
            connection = JsonConnection(self.nodes[node])
            connection.send("enter", name=self.name)
            return connection.answer()
        except (OSError, NodeError):
            self.failed.append(node)
            raise
        finally:
            if connection is not None:
                connection.close()

    def dial(self, node: str, address: str, ticket: str = "") -> JsonConnection:
        """Connect to this node and greet it; raises OSError or NodeError."""
        connection: JsonConnection | None = None
        try:
            connection = JsonConnection(address)
            connection.greet(self.name, self.key, ticket, **self.proof)
        except (OSError, NodeError):
            self.failed.append(node)
            if connection is not None:
                connection.close()
            raise
        return connection
