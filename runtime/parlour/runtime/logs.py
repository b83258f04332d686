"""The log for the operator: one line or one JSON object for each event, through Python's `logging`.

This module owns the loggers of nodes, brokers and the client library, and the place where a process writes their
events; any thread may log. It must never wait for the reader of standard error, nor log more than one plain line for a
peer's text.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import TextIO

from parlour.runtime.folders import open_private
from parlour.runtime.locks import make_lock
from parlour.runtime.operator_messages import printable
from parlour.wire.errors import ParlourError

__all__ = ["Tally", "broker_log", "client_log", "configured_logging", "node_log", "program_log", "set_part_name"]

LONGEST = 2000
"""Characters of an event's text at most: such a line fits into any pipe that is ready at all."""

FILE_SIZE, OLD_FILES = 1024 * 1024, 3
"""Bytes after which a log file is rotated, and how many old files are kept."""

EVERY = 10.0
"""Least seconds between two lines about counted events."""


class _Plain(logging.Filter):
    """Makes the text of each event one line without control characters, because it may quote a peer."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = printable(" ".join(record.getMessage().split()))
        record.msg, record.args = text[:LONGEST], None
        return True


def _logger(name: str) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.addFilter(_Plain())
    return logger


program_log = _logger("parlour")
"""The log of the whole program; the other loggers pass their events to it."""
node_log = _logger("parlour.node")
"""Events of a node, for its operator."""
broker_log = _logger("parlour.broker")
"""Events of a broker, for its operator."""
client_log = _logger("parlour.client")
"""Events of the client library, for the program that uses it; silent unless that program configures `logging`."""

program_log.addHandler(logging.NullHandler())  # without it Python itself would print the library's warnings


class _Text(logging.Formatter):
    """Formats an event as time (UTC), level, part and text."""

    part = ""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname.lower()} {self.part}: {record.getMessage()}"


class _Json(_Text):
    """Formats an event as a JSON object in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": _time(record),
                "level": record.levelname.lower(),
                "part": self.part,
                "logger": record.name,
                "text": record.getMessage(),
            }
        )


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


class _StandardError(logging.Handler):
    """Writes to standard error, or loses the event if that is not ready; the next line tells how many were lost."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._is_ready():
                self._lost += 1
                return
            if self._lost:
                count, self._lost = self._lost, 0
                text = f"{count} events before this one are lost: standard error was not ready"
                told = logging.makeLogRecord({"name": "parlour", "levelname": "WARNING", "msg": text})
                self._stream.write(self.format(told) + "\n")
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._lost += 1  # the disk is full, or the stream is closed

    def _is_ready(self) -> bool:
        # A ready pipe takes at least 4 KiB without waiting; a stopped terminal is not ready.
        try:
            poller = select.poll()
            poller.register(self._stream.fileno(), select.POLLOUT)
        except OSError:
            return True  # not a file: a stream of a test
        return any(event & (select.POLLOUT | select.POLLERR) for _, event in poller.poll(0))


class _File(RotatingFileHandler):
    """Writes to a file that only this user can read, and rotates it when it is big."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=FILE_SIZE, backupCount=OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=open_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: a full disk is no reason to stop, and there is no other place to report it."""


def set_part_name(name: str) -> None:
    """Name the part of the cluster, such as "node n1", in all later events."""
    _Text.part = name


@contextmanager
def configured_logging(part: str, style: str = "text", level: str = "info", path: str | None = None) -> Iterator[None]:
    """Write the log to the file `path`, else to standard error, while the block runs; `style` is "text" or "json".

    A ParlourError that ends the block is for the caller to print on standard error. It is also logged if that line
    would be missing in the log. Raises ParlourError if the file cannot be written.
    """
    try:
        handler: logging.Handler = _StandardError(sys.stderr) if path is None else _File(path)
    except OSError as error:
        raise ParlourError(f"cannot write the log to {path} ({error.strerror}): name another file") from None
    handler.setFormatter(_Json() if style == "json" else _Text())
    set_part_name(part)
    program_log.addHandler(handler)
    program_log.setLevel(level.upper())
    try:
        yield
    except ParlourError as error:
        if path is not None or style == "json":
            program_log.critical("%s", error)
        if path is None and style == "json":
            raise SystemExit(1) from None
        raise
    finally:
        program_log.removeHandler(handler)
        program_log.setLevel(logging.NOTSET)
        handler.close()


class Tally:
    """Counts events that may come by the thousand, and logs the counts in at most one line every ten seconds.

    `totals` counts them by reason since the start. A reason is a word or two of parlour's own, never a peer's.
    """

    def __init__(self, logger: logging.Logger, events: str, every: float = EVERY) -> None:
        """Count these events (such as "connections refused"), and log the counts by reason as warnings."""
        self._logger = logger
        self._events = events
        self._every = every
        # Guards totals, _unlogged and _logged_at. Rank 90.
        self._mutex = make_lock(90, "tally")
        self.totals: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._logged_at = float("-inf")

    def add(self, reason: str) -> None:
        """Count an event."""
        with self._mutex:
            self.totals[reason] += 1
            self._unlogged[reason] += 1

    def snapshot(self) -> dict[str, int]:
        """Return the totals."""
        with self._mutex:
            return dict(self.totals)

    def tell(self) -> None:
        """Log the counts that were not logged yet, if it is time; a thread of the part calls it about once a second."""
        now = time.monotonic()
        with self._mutex:
            if not self._unlogged or now - self._logged_at < self._every:
                return
            self._logged_at = now
            counts, self._unlogged = self._unlogged, Counter()
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        self._logger.warning("%s: %d (%s)", self._events, counts.total(), reasons)
