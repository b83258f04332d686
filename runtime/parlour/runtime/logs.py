"""The log for the operator: one line, or one JSON object, for each event, by Python's `logging`.

This module owns the loggers of nodes, brokers and the client library, and where a process writes what they say; any
thread may log. It must never wait for the reader of standard error, nor let a peer's text be more than one plain line.
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
"""Characters of an event's text at most: a line of them fits into any pipe that takes anything at all."""

FILE_SIZE, OLD_FILES = 1024 * 1024, 3
"""Bytes after which a log file is put aside, and how many of those are kept."""

EVERY = 10.0
"""Seconds between two lines about events that are counted."""


class _Plain(logging.Filter):
    """Makes the text of each event one line that steers no terminal: it may quote what a peer sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = printable(" ".join(record.getMessage().split()))
        record.msg, record.args = text[:LONGEST], None
        return True


def _logger(name: str) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.addFilter(_Plain())
    return logger


program_log = _logger("parlour")
"""The log of the program as a whole; the others hand on to it."""
node_log = _logger("parlour.node")
"""What a node tells its operator."""
broker_log = _logger("parlour.broker")
"""What a broker tells its operator."""
client_log = _logger("parlour.client")
"""What the client library tells the program that uses it, which hears nothing unless it asks `logging` for it."""

program_log.addHandler(logging.NullHandler())  # else Python would print warnings of the library by itself


class _Text(logging.Formatter):
    """Time (UTC), level, part and text."""

    part = ""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname.lower()} {self.part}: {record.getMessage()}"


class _Json(_Text):
    """The same as a JSON object in ASCII."""

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
    """Writes to standard error what it takes at once; the next line tells how many were lost."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._takes():
                self._lost += 1
                return
            if self._lost:
                count, self._lost = self._lost, 0
                text = f"{count} events before this one are lost: standard error took no more"
                told = logging.makeLogRecord({"name": "parlour", "levelname": "WARNING", "msg": text})
                self._stream.write(self.format(told) + "\n")
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._lost += 1  # a full disk, or closed

    def _takes(self) -> bool:
        # A pipe that is ready takes at least 4 KiB without waiting; a terminal that was stopped is not ready.
        try:
            poller = select.poll()
            poller.register(self._stream.fileno(), select.POLLOUT)
        except OSError:
            return True  # not a file: a test's
        return any(event & (select.POLLOUT | select.POLLERR) for _, event in poller.poll(0))


class _File(RotatingFileHandler):
    """Writes to a file that only this user can read, and puts it aside when it is big."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=FILE_SIZE, backupCount=OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=open_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Lose the line: a full disk is no reason to stop, and there is nowhere to say so."""


def set_part_name(name: str) -> None:
    """Have the log say from now on that it is this part of the cluster that speaks, such as "node n1"."""
    _Text.part = name


@contextmanager
def configured_logging(part: str, style: str = "text", level: str = "info", path: str | None = None) -> Iterator[None]:
    """Write the log while the block runs: to the file, else to standard error; in the style "text" or "json".

    An error that ends the block is left to the caller to tell on standard error, but is logged where its line would not
    be found in the log. Raises ParlourError if the file cannot be written.
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
    """Counts events that may come by the thousand, and tells them in one line in ten seconds at most.

    `totals` counts them by reason since the start. A reason is a word or two of our own, never a peer's.
    """

    def __init__(self, logger: logging.Logger, events: str, every: float = EVERY) -> None:
        """Log, as warnings, how many of these events (such as "connections refused") there were for each reason."""
        self._logger = logger
        self._events = events
        self._every = every
        # Guards totals, _untold and _told_at. Rank 90.
        self._mutex = make_lock(90, "tally")
        self.totals: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._told_at = float("-inf")

    def add(self, reason: str) -> None:
        """Count an event."""
        with self._mutex:
            self.totals[reason] += 1
            self._untold[reason] += 1

    def snapshot(self) -> dict[str, int]:
        """Return the totals."""
        with self._mutex:
            return dict(self.totals)

    def tell(self) -> None:
        """Log what was not told yet, if it is time; called about once a second by a thread of the part."""
        now = time.monotonic()
        with self._mutex:
            if not self._untold or now - self._told_at < self._every:
                return
            self._told_at = now
            counts, self._untold = self._untold, Counter()
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        self._logger.warning("%s: %d (%s)", self._events, counts.total(), reasons)
