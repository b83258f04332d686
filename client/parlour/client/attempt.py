"""An attempt at a connection, on a thread of its own: posts still expire in time meanwhile, and `close` is heard.

This module owns that thread, one at a time; the reconnector's thread starts attempts and gets their outcomes. It must
never leave a connection open that nobody took.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from parlour.client.connection import Connection
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import StuckThreadError, join_all, spawn
from parlour.wire.errors import ParlourError

__all__ = ["PARTING", "Attempts"]

PARTING = 1.0
"""Seconds for saying bye to a node."""


class Attempts:
    """The attempts of one chat."""

    def __init__(
        self,
        name: str,
        call: Callable[[Callable[[], None]], bool],
        succeeded: Callable[[Connection], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Tell outcomes to the reconnector's thread by `call`, which returns False once that thread has ended."""
        self._name = name
        self._call = call
        self._succeeded = succeeded
        self._failed = failed
        # Guards _thread and _ended. Rank 52.
        self._lock = make_lock(52, f"{name}'s attempts")
        self._thread: threading.Thread | None = None
        self._ended = False

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return self._thread is not None

    def start(self, connect: Callable[[], Connection]) -> None:
        """Begin an attempt; does nothing after `end`."""
        try:
            with self._lock:
                if not self._ended:
                    self._thread = spawn(f"{self._name}-dialing", self._run, connect)
        except RuntimeError as error:  # The system has no thread for it now.
            self._failed(error)

    def end(self) -> list[threading.Thread]:
        """Start no further attempt; return the thread of the present one for the caller to join."""
        with self._lock:
            self._ended = True
            return [] if self._thread is None else [self._thread]

    def _run(self, connect: Callable[[], Connection]) -> None:
        try:
            connection = connect()
        except Exception as error:
            self._call(partial(self._tell, partial(self._failed, error)))
            if not isinstance(error, ParlourError | OSError):
                raise
        else:
            if not self._call(partial(self._tell, partial(self._succeeded, connection))):
                connection.close(PARTING)

    def _tell(self, outcome: Callable[[], None]) -> None:
        """Join the thread, which is about to end, and tell the outcome."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            # Even that takes time on a machine that is too busy.
            with suppress(StuckThreadError):
                join_all([thread], PARTING)
        outcome()
