"""Waiting on behalf of a program, for as long as it says: also for ever, and never deaf to Ctrl-C.

This module owns how the library's calls wait; it runs on the thread that calls. It must never wait for longer than
`LONG` at a time.
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
"""Seconds that a thread waits at a time: Ctrl-C may come just before a wait, which only its end shows then, and the
system knows no wait without an end."""


def is_done(future: Future[Any], deadline: float) -> bool:
    """Wait until the future is done, or the deadline (monotonic, in seconds, perhaps infinite) is over; say which."""
    while not future.done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        wait_for([future], min(LONG, left))
    return True


def wait_until(changed: threading.Condition, condition: Callable[[], bool], deadline: float) -> bool:
    """Wait until the condition holds, or the deadline is over; say which. The lock of `changed` is held."""
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        changed.wait(min(LONG, left))
    return True
