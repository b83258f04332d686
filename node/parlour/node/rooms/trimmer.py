"""The thread that has the room log forget what is older than the operator wants to keep.

This module owns the node's trimmer thread. It must never have the log forget what is
recent, nor take so much at once that a post has to wait for it.
"""

from __future__ import annotations

import random
import select
from collections.abc import Iterator

from parlour.node.cluster.clockwatch import ClockWatch
from parlour.node.log import LogError, RoomLog
from parlour.node.log.retention import RECENT, Retention
from parlour.runtime.threads import Service

__all__ = ["Trimmer"]

STEP = 500
"""Messages forgotten at once at most: SQLite does that in some 2 ms."""

BREATH = 0.01
"""Seconds left to others between two steps."""

ROOMS = 100
"""Rooms looked at between two pauses."""


class Trimmer(Service):
    """The thread that trims all rooms of the log, again and again; that other nodes do so too does no harm."""

    def __init__(self, name: str, log: RoomLog, retention: Retention, interval: float, clock: ClockWatch) -> None:
        """Begin a round every `interval` seconds, unless the clock is wrong."""
        super().__init__(name)
        self._clock = clock
        self._log = log
        self._interval = interval
        self._limits: list[tuple[int, float]] = []  # messages that stay, and seconds for which all stay
        if retention.count is not None:
            self._limits.append((retention.count, RECENT))
        if retention.age is not None:
            self._limits.append((0, retention.age))

    def run(self) -> None:
        """Trim until stopped."""
        waker = select.poll()
        waker.register(self.wakeup, select.POLLIN)
        self.ready()
        for pause in self._rounds():
            if waker.poll(pause * 1000):
                return

    def _rounds(self) -> Iterator[float]:
        """Do the work, and yield the seconds to wait between one piece of it and the next."""
        yield random.uniform(0, self._interval)  # so that nodes that started together take turns
        while True:
            try:
                yield from self._round()
            except LogError:
                pass  # those who post are told of it; here there is time
            yield self._interval

    def _round(self) -> Iterator[float]:
        now = self._log.now()
        self._clock.hear("the room log", now)
        if not self._clock.right:
            return
        last = ""
        while rooms := self._log.rooms(last, ROOMS):
            for room in rooms:
                try:
                    for keep, seconds in self._limits:
                        before = now - int(seconds * 1000)
                        while self._log.trim(room, keep, before, STEP):
                            yield BREATH
                except LogError:
                    yield BREATH  # the next room may be on another server, which is well
            last = rooms[-1]
            yield BREATH
