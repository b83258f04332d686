"""Waiting in tests: for a condition with a deadline, never for a fixed time.

This module owns the only sleep of the test suite; it runs on the test's own thread. It must never wait without a
deadline. Every delay is a multiple of one unit, so one number adapts all delays to a slow machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["MS", "eventually", "poll"]

T = TypeVar("T")

MS = 0.001 * float(os.environ.get("PARLOUR_TEST_SLOWNESS", "1"))
"""One millisecond in seconds, scaled for slow machines: set PARLOUR_TEST_SLOWNESS=5 there."""


def poll(condition: Callable[[], T], timeout: float = 5.0) -> T:
    """Call the condition until its value is true or `timeout` (seconds, scaled) is over; return the last value."""
    deadline = time.monotonic() + timeout * 1000 * MS
    # The first checks follow each other fast, as most conditions are soon true; later ones leave time to the others.
    pause = MS
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 20 * MS)
    return value


def eventually(condition: Callable[[], T], timeout: float = 20.0, what: str = "") -> T:
    """Return what the condition returns as soon as that is true.

    Fails the test with `what` (the awaited thing, in words) after `timeout` seconds, scaled. An exception of the
    condition goes to the caller at once.
    """
    value = poll(condition, timeout)
    if not value:
        name = what or getattr(condition, "__qualname__", repr(condition))
        raise AssertionError(f"not within {timeout * 1000 * MS:g} s: {name} (last: {value!r})")
    return value
