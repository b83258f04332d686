"""An observer: a client that records everything in a room at one node, for the verdict on a replay.

This module owns the observer's connection. Its reader thread records messages; the thread that opened it waits. It must
record messages as they come, and never reorder or deduplicate them as a room of the library would.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

from parlour.chaos.verdict import Line
from parlour.client.dialing import dial_cluster
from parlour.client.errors import DeadlineError
from parlour.runtime.locks import make_lock
from parlour.wire import messages as wire
from parlour.wire.limits import PROTOCOL

__all__ = ["Observer"]

ENTERING = 10.0
"""Seconds within which an observer must have connected, and again to join the room."""


class Observer:
    """A client at the node of this name, which is in the room during its `with` block.

    Attributes:
        node: the node's name.
        heard: the messages in the order in which they came; read them after the block.
        lost: why the connection ended before the block did, or None.
    """

    def __init__(self, brokers: Sequence[str], node: str, room: str) -> None:
        self.node = node
        self.heard: list[Line] = []
        self.lost: str | None = None
        self._room = room
        # Guards _inside, _top and lost. Rank 30.
        self._lock = make_lock(30, f"observer at {node}")
        self._changed = threading.Condition(self._lock)
        self._inside = False
        self._top = 0
        name = f"observer-{secrets.token_hex(3)}"
        hello = wire.Hello(name, "", PROTOCOL, observer=True)
        self._connection = dial_cluster(brokers, hello, room, ENTERING, node)
        self._connection.start(f"{name}-reader", self._hear, self._end)

    def __enter__(self) -> Observer:
        """Join the room; raises DeadlineError or DisconnectedError if that fails."""
        try:
            self._connection.send(wire.Join(self._room))
            if not self._wait(lambda: self._inside, time.monotonic() + ENTERING):
                raise DeadlineError(self.lost or f"{self.node} did not let an observer join within {ENTERING:g} s")
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def hear_out(self, offset: int, deadline: float) -> None:
        """Wait for the message at this offset, until the deadline (monotonic, seconds) or the end of the connection."""
        self._wait(lambda: self._top >= offset, deadline)

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self.lost is not None, max(0.0, deadline - time.monotonic()))
            return condition()

    def _hear(self, message: wire.NodeMessage) -> None:
        now = time.monotonic()
        if isinstance(message, wire.Message):
            self.heard.append(Line(now, message.offset, message.id, message.by, message.text, message.kind))
        with self._changed:
            if isinstance(message, wire.Message):
                self._top = max(self._top, message.offset)
            elif isinstance(message, wire.Joined):
                self._inside = True
            elif isinstance(message, wire.Error):
                self.lost = message.text
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        with self._changed:
            self.lost = reason
            self._changed.notify_all()
