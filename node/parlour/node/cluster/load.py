"""The load of a node: its counters, and their changes for the load report.

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

__all__ = ["MAX_UNREPORTED", "Load", "Rates", "Totals"]

MAX_SAMPLES = 4096
"""Samples of the waiting time per report, at most: one per batch."""

SLOW_COMMIT = 1.0
"""Seconds to log a batch from which on the operator is told."""

REPORTS = 3
"""Reports that list a redeemed ticket: a node that loses as many reports in a row counts as lost anyway."""

MAX_REDEEMED, MAX_UNREPORTED = 2000, 60_000
"""New tickets in a report, and tickets that wait for later reports, at most: more than come in a ticket's 30 s."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Rates(TypedDict):
    """The counts between two reports, as a report tells them: rates per second, waits in milliseconds, CPU in cores."""

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
    """The counts since the node's start, in messages or bytes; they only grow."""

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Load:
    """The counters of one node. They only grow; a report tells the difference to the last one."""

    def __init__(self) -> None:
        # Guards all fields below but _memory, which the fleet thread alone uses, and the slow commits. Rank 80.
        self._mutex = make_lock(80, "load")
        self._counts = [0, 0, 0, 0]
        self._reported = Totals()
        self._samples: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._unreported: deque[str] = deque(maxlen=MAX_UNREPORTED)
        self._redeemed: deque[list[str]] = deque(maxlen=REPORTS)
        self._since = time.monotonic()
        self._cpu = time.process_time()
        self._memory = 0
        self._slow = Tally(node_log, "commits took long")
        self.waits = Histogram()
        """The time of each batch's oldest post in the node, until all members had it or were passed by."""
        self.commits = Histogram()
        """The time that the room log took for each batch."""
        self.encoded = 0
        """Messages encoded as frames, each once for all members."""
        self.encodings = 0
        """Encodings of batches: one for each variant of a batch's members, and one for the frames."""
        self.mended = 0
        """Holes left by the relay that were filled from the log."""

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
        """Count one batch.

        Args:
            messages_in: posts in the batch.
            messages_out: messages delivered, counted once per member.
            bytes_in: bytes of the posts.
            bytes_out: bytes delivered.
            wait: seconds that the oldest post was in the node; None without a post.
            commit: seconds that the log took; None if it was not asked.
            encoded: messages encoded as frames, each once for all members.
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
        if commit is not None and commit >= SLOW_COMMIT:
            self._slow.add(f"over {SLOW_COMMIT:g} s" if commit < 5 * SLOW_COMMIT else f"over {5 * SLOW_COMMIT:g} s")

    def read(self, encoded: int, mended: int = 0) -> None:
        """Count messages that were read from the log and encoded, and holes that were filled so."""
        with self._mutex:
            self.encoded += encoded
            self.encodings += encoded > 0
            self.mended += mended

    def encode(self, batches: int) -> None:
        """Count batches that were encoded in another variant than frames."""
        with self._mutex:
            self.encodings += batches

    def redeem(self, ticket: str) -> None:
        """Note that a client came with this ticket; the next `REPORTS` reports tell it, because one may be lost."""
        with self._mutex:
            self._unreported.append(ticket)

    def totals(self) -> Totals:
        """Return the counts since the node's start."""
        with self._mutex:
            return Totals(*self._counts)

    def take(self) -> Rates:
        """Return the changes since the last call, and the tickets of the last `REPORTS` calls."""
        self._slow.tell()
        now, cpu = time.monotonic(), time.process_time()
        with self._mutex:
            totals = Totals(*self._counts)
            waits, self._samples = sorted(self._samples), deque(maxlen=MAX_SAMPLES)
            count = min(MAX_REDEEMED, len(self._unreported))
            self._redeemed.append([self._unreported.popleft() for _ in range(count)])
            redeemed = [ticket for tickets in self._redeemed for ticket in tickets]
            seconds, self._since = max(now - self._since, 0.001), now
            used, self._cpu = cpu - self._cpu, cpu
            before, self._reported = self._reported, totals
        rates = (round((total - reported) / seconds, 3) for total, reported in zip(totals, before, strict=True))
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
        """Return the resident size of this process, in bytes; the last known size if no file can be opened now."""
        with suppress(OSError), open("/proc/self/statm", "rb") as file:
            self._memory = int(file.read().split()[1]) * _PAGE
        return self._memory
