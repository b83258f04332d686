"""Work for later or for another thread: a scheduler thread, and a few workers that do the work.

This module owns the node's scheduler thread and its workers. A piece of work must not wait without a deadline, because
other rooms' work stands behind it. An exception in it is logged and ends no worker.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable

from parlour.runtime.locks import make_lock
from parlour.runtime.logs import node_log
from parlour.runtime.threads import join_all, spawn

__all__ = ["Scheduler", "Work", "WorkerPool"]

Work = Callable[[], object]


class WorkerPool:
    """Threads that do work in the order given: combine for a room whose combiner had its turn, or repair holes."""

    def __init__(self, name: str, threads: int = 2) -> None:
        self._name = name
        self._count = threads
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        self._threads = [spawn(f"{self._name}-{n + 1}", self._run) for n in range(self._count)]

    def put(self, work: Work) -> None:
        """Have a worker do `work` soon. The callers bound the queue: it holds one work of each kind for each room."""
        self._queue.put(work)

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the queued work, end the threads and join them."""
        for _ in self._threads:
            self._queue.put(None)
        join_all(self._threads, timeout)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception as error:
                node_log.error("%s failed (a bug in parlour): %s: %s", self._name, type(error).__name__, error)


class Scheduler:
    """A thread that gives work to the workers when it is due, and sleeps in between."""

    def __init__(self, name: str, workers: WorkerPool) -> None:
        self._name = name
        self._workers = workers
        # Guards _heap and _stopping. Rank 75.
        self._changed = threading.Condition(make_lock(75, "scheduler"))
        self._heap: list[tuple[float, int, Work]] = []
        self._turn = itertools.count()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = spawn(self._name, self._run, vital=True)

    def after(self, seconds: float, work: Work) -> None:
        """Have a worker do `work` after this many seconds."""
        with self._changed:
            entry = (time.monotonic() + seconds, next(self._turn), work)
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._changed.notify()

    def every(self, seconds: float, work: Work) -> None:
        """Have a worker do `work` again and again, each time this many seconds after the last."""

        def once() -> None:
            try:
                work()
            finally:
                self.after(seconds, once)

        self.after(seconds, once)

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and join it; work that is not due yet is dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            join_all([self._thread], timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (not self._heap or self._heap[0][0] > time.monotonic()):
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                if self._stopping:
                    return
                work = heapq.heappop(self._heap)[2]
            self._workers.put(work)
