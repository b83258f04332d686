"""The thread that makes the room log forget messages that are older than the operator wants to keep.

This module owns the node's trimmer thread. It must never trim recent messages, nor so many at once that a post has to
wait.
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
"""Messages trimmed at once, at most: SQLite does that in about 2 ms."""

PAUSE = 0.01
"""Seconds between two steps, in which others can use the log."""

ROOMS_READ = 100
"""Names of rooms that one question to the log returns, at most; a pause follows."""


class Trimmer(Service):
    """The thread that trims all rooms of the log, again and again; other nodes may do so at the same time."""

    def __init__(self, name: str, log: RoomLog, retention: Retention, interval: float, clock: ClockWatch) -> None:
        """Begin a round every `interval` seconds, unless the clock is wrong."""
        super().__init__(name)
        self._clock = clock
        self._log = log
        self._interval = interval
        self._limits: list[
            tuple[int, float]
        ] = []  # the number of messages that stay, and the seconds for which all stay
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
        """Trim step by step, and yield the seconds to wait before the next step."""
        yield random.uniform(0, self._interval)  # so that nodes that started together take turns
        while True:
            try:
                yield from self._round()
            except LogError:
                pass  # the senders of posts are told; trimming can wait
            yield self._interval

    def _round(self) -> Iterator[float]:
        now = self._log.now()
        self._clock.hear("the room log", now)
        if not self._clock.agrees:
            return
        last = ""
        while rooms := self._log.rooms(last, ROOMS_READ):
            for room in rooms:
                try:
                    for keep, seconds in self._limits:
                        before = now - int(seconds * 1000)
                        while self._log.trim(room, keep, before, STEP):
                            yield PAUSE
                except LogError:
                    yield PAUSE  # the next room may be on another server, which works
            last = rooms[-1]
            yield PAUSE
