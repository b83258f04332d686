"""Waiting in tests: for a condition, with a deadline, never for a time.

This module owns the only sleep of the test suite; it runs on the test's own thread. It must never wait without a
deadline. Every delay is a multiple of one unit, so that a slow machine is served by one number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["MS", "eventually", "poll"]

T = TypeVar("T")

MS = 0.001 * float(os.environ.get("PARLOUR_TEST_SLOWNESS", "1"))
"""One millisecond, in seconds, as long as this machine needs it to be: set PARLOUR_TEST_SLOWNESS=5 on a slow one."""


def poll(condition: Callable[[], T], timeout: float = 5.0) -> T:
    """Call the condition until it returns something true or `timeout` (seconds, scaled) is over; return its last."""
    deadline = time.monotonic() + timeout * 1000 * MS
    # The first looks come quickly, as most things are done at once; the later ones leave the machine to the others.
    pause = MS
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 20 * MS)
    return value


def eventually(condition: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
    """Return what the condition returns as soon as that is true.

    Fails the test with `what` (the thing waited for, in words) if it is not within `timeout` seconds, scaled. What
    the condition raises goes to the caller at once.
    """
    value = poll(condition, timeout)
    if not value:
        name = what or getattr(condition, "__qualname__", repr(condition))
        raise AssertionError(f"not within {timeout * 1000 * MS:g} s: {name} (last: {value!r})")
    return value
