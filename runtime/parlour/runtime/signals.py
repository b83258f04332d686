"""Waiting for what ends a program: SIGTERM, Ctrl-C, or the failure of a thread that it cannot do without.

This module owns the signal handlers of every long-running command, and its hook for threads that fail; it must be
called on the main thread, once. It must never stop anything itself: the caller does, after `wait_for_stop`.
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
"""Seconds after which the main thread looks whether a signal came that did not end its wait."""

_FAILED = -1
"""What stands in for a signal's number when a thread has failed; 0 is left to programs that end by themselves."""


def end_on_failure(arrived: SimpleQueue[int]) -> None:
    """When a vital thread fails, from now on, log it, and end the wait of `wait_for_stop(..., arrived)`.

    A program that goes on without it would be half dead; one that ends is started again by whoever watches over it.
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
    """Let Ctrl-C end the block with status 130, and without a word.

    A part is known to others a moment before it minds signals in `wait_for_stop`, and may be told to stop in between.
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
        raise  # Who started the program to use it would have stopped it, too.
    except OSError:
        pass  # It serves as well while the disk is full.


def wait_for_stop(ready: str | None = None, arrived: SimpleQueue[int] | None = None) -> int:
    """Wait until SIGTERM or SIGINT comes and return its number; a second signal then ends the process at once.

    Whoever else may stop the program puts the number of the signal that would mean the same into `arrived`. Raises
    SystemExit with status 1 if a thread has failed for which `end_on_failure(arrived)` was called.

    `ready` is a line that is printed to standard output as soon as the handlers are in place, so that whoever waits
    for it may send the signal without fear of killing a process that would not have stopped in order.
    """
    # An Event's lock is not reentrant: `set` in a handler that interrupts `wait` could wait for itself. SimpleQueue
    # is made for this.
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
        # The system may give the signal to another thread, or just before this one waits, but handlers run on this one.
        with suppress(Empty):
            number = arrived.get(timeout=LOOK)
    if number == _FAILED:
        raise SystemExit(1)
    return number
