"""What a node counts about itself, and the load report made of it.

This module owns the counters; any thread counts, the fleet thread reads them once per report. It must never cost
more than one short lock per batch.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress

from parlour.runtime.locks import make_lock
from parlour.runtime.logs import Tally, node_log

__all__ = ["Load", "Rates"]

WAITS = 4096
"""Samples of the waiting time kept per report: one per batch."""

SLOW = 1.0
"""Seconds that logging a batch takes, from which on the operator is told."""

TOLD = 3
"""Reports that list a redeemed ticket: a node that loses so many in a row is held for lost anyhow."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Rates:
    """What was counted between two reports: rates per second, waits in milliseconds, CPU in cores."""

    def __init__(self, seconds: float, counts: list[int], waits: list[float], cpu: float, redeemed: list[str]) -> None:
        self.messages_in, self.messages_out, self.bytes_in, self.bytes_out = (
            round(count / seconds, 3) for count in counts
        )
        waits.sort()
        self.wait_p50 = round(waits[len(waits) // 2] * 1000, 3) if waits else 0.0
        self.wait_p99 = round(waits[len(waits) * 99 // 100] * 1000, 3) if waits else 0.0
        self.cpu = round(cpu / seconds, 4)
        self.redeemed = redeemed


class Load:
    """The counters of one node since its last report."""

    def __init__(self) -> None:
        # Guards all fields below but _memory, which the fleet thread alone uses. Rank 80.
        self._mutex = make_lock(80, "load")
        self._counts = [0, 0, 0, 0]
        self._waits: deque[float] = deque(maxlen=WAITS)
        self._redeemed: deque[list[str]] = deque([[]], TOLD)
        self._since = time.monotonic()
        self._cpu = time.process_time()
        self._memory = 0
        self._slow = Tally(node_log, "commits took long")

    def count(self, messages_in: int, messages_out: int, bytes_in: int, bytes_out: int, wait: float | None) -> None:
        """Count one batch; `wait` is how long its oldest post was in the node, in seconds."""
        with self._mutex:
            counts = self._counts
            counts[0] += messages_in
            counts[1] += messages_out
            counts[2] += bytes_in
            counts[3] += bytes_out
            if wait is not None:
                self._waits.append(wait)

    def commit(self, seconds: float) -> None:
        """Count one batch that was logged, or was not, within so many seconds."""
        if seconds >= SLOW:
            self._slow.add(f"over {SLOW:g} s" if seconds < 5 * SLOW else f"over {5 * SLOW:g} s")

    def redeem(self, ticket: str) -> None:
        """A client came with this ticket; the next reports tell the broker, as one may be lost."""
        with self._mutex:
            self._redeemed[-1].append(ticket)

    def take(self) -> Rates:
        """Return what was counted since the last call, and the tickets of the last three, and begin anew."""
        self._slow.tell()
        now, cpu = time.monotonic(), time.process_time()
        with self._mutex:
            counts, self._counts = self._counts, [0, 0, 0, 0]
            waits, self._waits = self._waits, deque(maxlen=WAITS)
            redeemed = [ticket for tickets in self._redeemed for ticket in tickets]
            self._redeemed.append([])
            seconds, self._since = max(now - self._since, 0.001), now
            used, self._cpu = cpu - self._cpu, cpu
        return Rates(seconds, counts, list(waits), used, redeemed)

    def memory(self) -> int:
        """Return the resident size of this process, in bytes; the last known one if no file can be opened now."""
        with suppress(OSError), open("/proc/self/statm", "rb") as file:
            self._memory = int(file.read().split()[1]) * _PAGE
        return self._memory
