"""The wait for the end of a program: SIGTERM, Ctrl-C, or the failure of a vital thread.

This module owns the signal handlers of every long-running command, and the hook for threads that fail; call it once,
on the main thread. It must never stop anything itself: the caller does so after `wait_for_stop`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType

from parlour.runtime.logs import program_log
from parlour.runtime.threads import FailedThreadError

__all__ = ["end_on_failure", "exit_on_interrupt", "print_ready", "wait_for_stop"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

LOOK = 0.5
"""Seconds between two checks of the main thread for a signal that did not end its wait."""

_FAILED = -1
"""Pseudo signal number: a thread failed. (0 means that the program ended by itself.)"""


def end_on_failure(arrived: SimpleQueue[int]) -> None:
    """From now on, when a vital thread fails, log it and end `wait_for_stop(..., arrived)`.

    A program without that thread would be half dead. If the program ends, its supervisor starts it again.
    """

    def handle(failure: threading.ExceptHookArgs) -> None:
        vital = isinstance(failure.exc_value, FailedThreadError)
        if not vital or os.environ.get("PARLOUR_TRACEBACK") == "1":
            threading.__excepthook__(failure)
        if vital:
            program_log.critical("%s (PARLOUR_TRACEBACK=1 shows where)", failure.exc_value)
            arrived.put(_FAILED)

    threading.excepthook = handle


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the block silently with status 130.

    Other processes see a part a moment before it handles signals in `wait_for_stop`, so a signal may come in between.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def print_ready(ready: str) -> None:
    """Print the line that says that the program is ready; raises ConnectionError if its reader has gone."""
    try:
        print(ready, flush=True)
    except ConnectionError:
        raise  # The process that started the program has gone, and nobody else would stop the program.
    except OSError:
        pass  # A full disk does not keep the program from working.


def wait_for_stop(ready: str | None = None, arrived: SimpleQueue[int] | None = None) -> int:
    """Wait for SIGTERM or SIGINT and return its number; a second signal then ends the process at once.

    Another thread can stop the program if it puts a signal's number into `arrived`. Raises SystemExit with status 1 if
    a vital thread has failed after `end_on_failure(arrived)`.

    `ready` is a line to print to standard output when the handlers are in place. A process that has read the line may
    send the signal: the program will stop in order.
    """
    # Not an Event: its lock is not reentrant, so `set` in a handler that interrupts `wait` could wait for itself.
    # SimpleQueue is made for this use.
    arrived = SimpleQueue() if arrived is None else arrived

    def handle(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        arrived.put(number)

    for each in _SIGNALS:
        signal.signal(each, handle)
    if ready is not None:
        print_ready(ready)
    number = None
    while number is None:
        # The system may deliver the signal to another thread, or just before this wait; handlers run on this thread.
        with suppress(Empty):
            number = arrived.get(timeout=LOOK)
    if number == _FAILED:
        raise SystemExit(1)
    return number
