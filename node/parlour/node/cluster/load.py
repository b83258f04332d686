"""What a node counts about itself, and the load report made of it.

This module owns the counters; any thread counts, the fleet thread reads them once per report. It must never cost
more than one short lock per batch.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple, TypedDict

from parlour.runtime.histogram import Histogram
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import Tally, node_log

__all__ = ["UNTOLD", "Load", "Rates", "Totals"]

WAITS = 4096
"""Samples of the waiting time kept per report: one per batch."""

SLOW = 1.0
"""Seconds that logging a batch takes, from which on the operator is told."""

TOLD = 3
"""Reports that list a redeemed ticket: a node that loses so many in a row is held for lost anyhow."""

REDEEMED, UNTOLD = 2000, 60_000
"""Tickets that a report tells anew at most, and that wait for the next ones: more than admitted in their 30 s."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Rates(TypedDict):
    """What was counted between two reports, as these tell it: rates per second, waits in milliseconds, CPU in cores."""

    messages_in: float
    messages_out: float
    bytes_in: float
    bytes_out: float
    wait_p50: float
    wait_p99: float
    cpu: float
    memory: int
    redeemed: list[str]


class Totals(NamedTuple):
    """What was counted since the node's start, in messages or bytes; these only grow."""

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Load:
    """The counters of one node. All only grow; the report tells how much since the last."""

    def __init__(self) -> None:
        # Guards all fields below but _memory, which the fleet thread alone uses, and the slow commits. Rank 80.
        self._mutex = make_lock(80, "load")
        self._counts = [0, 0, 0, 0]
        self._told = Totals()
        self._samples: deque[float] = deque(maxlen=WAITS)
        self._untold: deque[str] = deque(maxlen=UNTOLD)
        self._redeemed: deque[list[str]] = deque(maxlen=TOLD)
        self._since = time.monotonic()
        self._cpu = time.process_time()
        self._memory = 0
        self._slow = Tally(node_log, "commits took long")
        self.waits = Histogram()
        """How long the oldest post of each batch was in the node, until all members had it or were passed by."""
        self.commits = Histogram()
        """How long the room log took for each batch."""
        self.encoded = 0
        """Messages that were made into frames, each once for all members."""
        self.encodings = 0
        """How often a batch was encoded: once for each variant of its members, frames included."""
        self.mended = 0
        """Holes of the relay's that were read from the log."""

    def count(
        self,
        messages_in: int,
        messages_out: int,
        bytes_in: int,
        bytes_out: int,
        wait: float | None,
        commit: float | None = None,
        encoded: int = 0,
    ) -> None:
        """Count one batch; `wait` is how long its oldest post was in the node, `commit` what the log took, in seconds.

        `encoded` are the messages that were made into frames, each once for all members.
        """
        with self._mutex:
            counts = self._counts
            counts[0] += messages_in
            counts[1] += messages_out
            counts[2] += bytes_in
            counts[3] += bytes_out
            if wait is not None:
                self._samples.append(wait)
                self.waits.add(wait)
            if commit is not None:
                self.commits.add(commit)
            self.encoded += encoded
            self.encodings += encoded > 0
        if commit is not None and commit >= SLOW:
            self._slow.add(f"over {SLOW:g} s" if commit < 5 * SLOW else f"over {5 * SLOW:g} s")

    def read(self, encoded: int, mended: int = 0) -> None:
        """Count messages that were read from the log and encoded, or holes that were mended so."""
        with self._mutex:
            self.encoded += encoded
            self.encodings += encoded > 0
            self.mended += mended

    def encode(self, batches: int) -> None:
        """Count batches that were encoded in another variant than frames."""
        with self._mutex:
            self.encodings += batches

    def redeem(self, ticket: str) -> None:
        """A client came with this ticket; the next reports tell the broker, as one may be lost."""
        with self._mutex:
            self._untold.append(ticket)

    def totals(self) -> Totals:
        """Return what was counted since the node's start."""
        with self._mutex:
            return Totals(*self._counts)

    def take(self) -> Rates:
        """Return what was counted since the last call, and the tickets of the last three."""
        self._slow.tell()
        now, cpu = time.monotonic(), time.process_time()
        with self._mutex:
            totals = Totals(*self._counts)
            waits, self._samples = sorted(self._samples), deque(maxlen=WAITS)
            count = min(REDEEMED, len(self._untold))
            self._redeemed.append([self._untold.popleft() for _ in range(count)])
            redeemed = [ticket for tickets in self._redeemed for ticket in tickets]
            seconds, self._since = max(now - self._since, 0.001), now
            used, self._cpu = cpu - self._cpu, cpu
            before, self._told = self._told, totals
        rates = (round((total - told) / seconds, 3) for total, told in zip(totals, before, strict=True))
        messages_in, messages_out, bytes_in, bytes_out = rates
        return Rates(
            messages_in=messages_in,
            messages_out=messages_out,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            wait_p50=round(waits[len(waits) // 2] * 1000, 3) if waits else 0.0,
            wait_p99=round(waits[len(waits) * 99 // 100] * 1000, 3) if waits else 0.0,
            cpu=round(used / seconds, 4),
            memory=self.memory(),
            redeemed=redeemed,
        )

    def memory(self) -> int:
        """Return the resident size of this process, in bytes; the last known one if no file can be opened now."""
        with suppress(OSError), open("/proc/self/statm", "rb") as file:
            self._memory = int(file.read().split()[1]) * _PAGE
        return self._memory
