"""The threads that serve a node's clients, one client each.

This module owns the threads: a thread that is free serves the next client, and their number is bounded. It must never
make the listener wait.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from parlour.node.clients.arrivals import Place
from parlour.runtime.locks import make_lock
from parlour.runtime.threads import join_all, spawn

__all__ = ["ClientPool", "Visitor"]

IDLE = 30.0
"""Seconds for which a thread without a client waits for the next one before it ends."""


class Visitor(NamedTuple):
    """A connection that was accepted, and its place among those of its address."""

    socket: socket.socket
    place: Place


class ClientPool:
    """Threads that serve one client each, at most `capacity` at a time."""

    def __init__(self, name: str, capacity: int, serve: Callable[[Visitor], None]) -> None:
        self._name = name
        self._capacity = capacity
        self._serve = serve
        # Guards _idle, _threads and _count. Rank 20.
        self._mutex = make_lock(20, "client pool")
        self._idle = 0
        self._count = 0
        self._threads: set[threading.Thread] = set()
        self._waiting: queue.SimpleQueue[Visitor | None] = queue.SimpleQueue()

    def take(self, visitor: Visitor) -> bool:
        """Have a thread serve the connection; return False if all are busy and no more may be started."""
        with self._mutex:
            if self._idle:
                self._idle -= 1
                self._waiting.put(visitor)
                return True
            if len(self._threads) >= self._capacity:
                return False
            self._count += 1
            try:
                self._threads.add(spawn(f"{self._name}-{self._count}", self._run, visitor))
            except RuntimeError:
                return False  # the system has no more threads: the node counts as full
            return True

    def stop(self, timeout: float) -> None:
        """Join all threads; the caller has ended their connections before."""
        with self._mutex:
            threads = list(self._threads)
            for _ in threads:
                self._waiting.put(None)
        join_all(threads, timeout)

    def _run(self, visitor: Visitor | None) -> None:
        try:
            while visitor is not None:
                self._serve(visitor)
                visitor = self._next()
        finally:
            with self._mutex:
                self._threads.discard(threading.current_thread())

    def _next(self) -> Visitor | None:
        with self._mutex:
            self._idle += 1
        try:
            return self._waiting.get(timeout=IDLE)
        except queue.Empty:
            with self._mutex:
                if self._idle:
                    self._idle -= 1
                    return None
            # `take` counted this thread as idle between the time-out and the lock: a connection is on the way.
            return self._waiting.get(timeout=IDLE)
