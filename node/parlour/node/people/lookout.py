"""A thread that looks at the directory again and again.

This module owns the thread's course; what it looks for, a subclass tells. It must never end because the directory does
not answer: the next look may succeed.
"""

from __future__ import annotations

import threading

from parlour.directory.store import DirectoryError
from parlour.runtime.threads import join_all, spawn

__all__ = ["Lookout"]


class Lookout:
    """A thread of this name. A subclass defines `look`, which the thread calls every `interval` seconds."""

    def __init__(self, name: str, interval: float) -> None:
        self._name = name
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = spawn(self._name, self._run, vital=True)

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and join it."""
        self._stopping.set()
        if self._thread is not None:
            join_all([self._thread], timeout)

    def look(self) -> None:
        """Look once; raises DirectoryError."""
        raise NotImplementedError

    def _run(self) -> None:
        """Look at the directory again and again."""
        while not self._stopping.wait(self._interval):
            try:
                self.look()
            except DirectoryError:
                pass  # the next look may succeed
