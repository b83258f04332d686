"""How the library's calls wait: as long as the program says, also without end, and open to Ctrl-C.

This module owns no state; it runs on the thread that calls. It must never wait longer than `LONG` at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

__all__ = ["LONG", "is_done", "wait_until"]

LONG = 1.0
"""Seconds that a thread waits at a time. If Ctrl-C comes just before a wait, Python sees it only when the wait ends."""


def is_done(future: Future[Any], deadline: float) -> bool:
    """Wait until the future is done or the deadline (monotonic seconds, may be infinite) is over; return which."""
    while not future.done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        wait_for([future], min(LONG, left))
    return True


def wait_until(changed: threading.Condition, condition: Callable[[], bool], deadline: float) -> bool:
    """Wait until the condition holds or the deadline is over; return which. The caller holds the lock of `changed`."""
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        changed.wait(min(LONG, left))
    return True
