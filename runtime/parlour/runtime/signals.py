"""Waiting for the signal that ends a program: SIGTERM or Ctrl-C.

This module owns the signal handlers of every long-running command; it must be called on the main thread, once. It
must never stop anything itself: the caller does, after `wait_for_stop` returned.
"""

from __future__ import annotations

import signal
from queue import SimpleQueue
from types import FrameType

__all__ = ["wait_for_stop"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def wait_for_stop(ready: str | None = None, arrived: SimpleQueue[int] | None = None) -> int:
    """Wait until SIGTERM or SIGINT comes and return its number; a second signal then ends the process at once.

    Whoever else may stop the program puts the number of the signal that would mean the same into `arrived`.

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
        print(ready, flush=True)
    return arrived.get()
