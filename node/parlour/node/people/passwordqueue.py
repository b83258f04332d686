"""The threads that check passwords: argon2 takes tens of milliseconds and megabytes, so it has a queue of its own.

This module owns these threads and the bound of their queue. It must never make anybody wait who does not sign in: the
callers hold no lock.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, TypeVar

from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.threads import join_all, spawn

__all__ = ["PasswordQueue"]

T = TypeVar("T")

THREADS = 2
"""Passwords checked at once."""

WAITING = 1024
"""Sign-ins that may wait: more than the threads do within the time that a new connection has to say hello."""

NICENESS = 10
"""How far these threads stand back for those that chat, as `nice` counts."""


class PasswordQueue:
    """Two threads that do the work of sign-ins, in the order in which they came."""

    def __init__(self, name: str, timeout: float) -> None:
        """Let a sign-in wait for at most `timeout` seconds."""
        self._name = name
        self._timeout = timeout
        self._queue: queue.Queue[tuple[Future[Any], Callable[[], object]] | None] = queue.Queue()
        self._dismissed = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        self._threads = [spawn(f"{self._name}-{n + 1}", self._run, vital=True) for n in range(THREADS)]

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads and join them."""
        self.dismiss()
        for _ in self._threads:
            self._queue.put(None)
        join_all(self._threads, timeout)

    def dismiss(self) -> None:
        """Refuse the sign-ins that wait, and all further ones: the node stops."""
        self._dismissed = True
        with suppress(queue.Empty):
            while True:
                waiting = self._queue.get_nowait()
                if waiting is not None:
                    waiting[0].cancel()

    @property
    def waiting(self) -> int:
        """The number of sign-ins that wait."""
        return self._queue.qsize()

    def do(self, work: Callable[[], T]) -> T:
        """Have a thread do the work and return its result; raises what it raises.

        Raises RefusedClientError if too many wait, or if its turn did not come in time: then it is not done.
        """
        if self.waiting >= WAITING:
            raise _busy()
        future: Future[T] = Future()
        self._queue.put((future, work))
        if self._dismissed:
            future.cancel()
        try:
            return future.result(self._timeout)
        except CancelledError:
            raise RefusedClientError("full", "this node is about to stop: connect to another one", 1.0) from None
        except FutureTimeoutError:
            # The work itself has deadlines: once it has begun, its result is near.
            if future.cancel():
                raise _busy() from None
            return future.result()

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (waiting := self._queue.get()) is not None:
            future, work = waiting
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, work, waiting


def _busy() -> RefusedClientError:
    return RefusedClientError("busy", "too many people sign in at the same time: try again in a moment", 2.0)
