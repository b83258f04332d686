"""An eavesdropper: a guest at one node after another, who tries in JSON lines what may tell of private conversations.

This module owns its connections, on a thread of its own; other threads read what it overheard once it has stopped. It
must never take what it says itself for something that it heard.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from parlour.chaos.json_connection import JsonConnection
from parlour.chaos.people import WHISPER
from parlour.client.errors import NodeError
from parlour.runtime.threads import Service

__all__ = ["Eavesdropper"]

STAY = 2.0
"""Seconds at one node, at most."""

PAUSE = 0.05
"""Seconds between two attempts."""


class Eavesdropper(Service):
    """The thread of a guest of this name, who goes from node to node and tries all that may tell of private talk.

    Attributes:
        overheard: each message that told it of a private conversation, a line each; parlour must send it none.
    """

    def __init__(self, name: str, nodes: Mapping[str, str], rooms: Sequence[str], seed: str) -> None:
        """Prepare an eavesdropper on private conversations in these rooms, at nodes whose addresses are known."""
        super().__init__(name)
        self.overheard: list[str] = []
        self._name = name
        self._nodes = nodes
        self._rooms = rooms
        self._chance = random.Random(seed)
        self._key = secrets.token_hex(16)

    def run(self) -> None:
        """Go from node to node until it is stopped."""
        self.ready()
        while not self.stopping:
            with suppress(OSError, NodeError):  # The node is away, or does not answer.
                self._visit(self._nodes[self._chance.choice(list(self._nodes))])
            time.sleep(PAUSE)

    def _visit(self, address: str) -> None:
        """Stay at a node for a while; raises OSError or NodeError when it ends."""
        connection = JsonConnection(address)
        try:
            connection.greet(self._name, self._key)
            connection.socket.settimeout(STAY)
            until = time.monotonic() + STAY
            while not self.stopping and time.monotonic() < until:
                self._try(connection, self._chance.choice(self._rooms))
                # The answer to a ping comes behind all the others.
                connection.send("ping")
                while (message := self._next(connection))["type"] != "pong":
                    self._look_at(message)
                time.sleep(PAUSE)
        finally:
            connection.close(politely=True)

    def _try(self, connection: JsonConnection, room: str) -> None:
        """Try everything that a client may ask of a room."""
        connection.send("join", room=room, history=100)
        connection.send("history", room=room, before=2**53 - 1, limit=100)
        connection.send("who", room=room)
        connection.send("say", room=room, id=1, text="who is there?")
        connection.send("ask", id=1, what="state", data={"room": room})
        connection.send("ask", id=2, what="rooms", data={"after": ""})
        connection.send("ask", id=3, what="belongings")
        connection.send("ask", id=4, what="mark", data={"room": room, "offset": 1})

    def _next(self, connection: JsonConnection) -> dict[str, object]:
        while not connection.messages:
            connection.read()
        return connection.messages.popleft()

    def _look_at(self, message: dict[str, object]) -> None:
        """Note a message that tells of a private conversation."""
        # Errors repeat the names that the eavesdropper has given itself.
        private = (WHISPER,) if message["type"] == "error" else (*self._rooms, WHISPER)
        sent = json.dumps(message)
        if any(word in sent for word in private):
            self.overheard.append(f"{self._name} was sent {sent}")
