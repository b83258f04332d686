"""Threads that are all started in one way: named, joined with a deadline, and reported by name if they do not stop.

This module starts and joins every thread of parlour. It must never start a thread without a name, nor wait for one
without a deadline.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from parlour.runtime.forks import ProcessBound
from parlour.runtime.locks import make_lock
from parlour.wire.errors import ParlourError

__all__ = ["FailedThreadError", "Service", "StuckThreadError", "join_all", "spawn"]

_COMM = 15
"""Bytes of a thread's name that Linux keeps."""

_set_name = ctypes.PyDLL(None).pthread_setname_np
_set_name.argtypes = [ctypes.c_ulong, ctypes.c_char_p]


class StuckThreadError(ParlourError):
    """Threads did not start or stop within their deadline; the text names them."""


class FailedThreadError(ParlourError):
    """A thread that the program needs has ended in an exception, which is the cause of this error."""


def spawn(name: str, target: Callable[..., object], *args: object, vital: bool = False) -> threading.Thread:
    """Start a thread of this name that runs `target(*args)`; raises RuntimeError if the system has no thread left.

    An exception in a `vital` thread reaches `threading.excepthook` as FailedThreadError. Threads are daemonic, so that
    a stuck thread cannot keep the process alive; all are joined with a deadline. The system shows the end of the name.
    """
    if vital:
        target, args = _run_vital, (target, *args)
    thread = threading.Thread(target=_run_named, args=(target, *args), name=name, daemon=True)
    thread.start()
    return thread


def _run_named(target: Callable[..., object], *args: object) -> None:
    # For `top -H` and `ps -L`. A write to /proc would release the interpreter: 80 µs more for each client.
    _set_name(threading.get_ident(), threading.current_thread().name.encode()[-_COMM:])
    target(*args)


def _run_vital(target: Callable[..., object], *args: object) -> None:
    try:
        target(*args)
    except BaseException as error:
        name, text = threading.current_thread().name, " ".join(str(error).split())
        raise FailedThreadError(
            f"the thread {name} failed (a bug in parlour): {type(error).__name__}: {text}"
        ) from error


def join_all(threads: Iterable[threading.Thread], timeout: float) -> None:
    """Join all threads within `timeout` seconds; raises StuckThreadError, which names those that still run."""
    deadline = time.monotonic() + timeout
    stuck: list[str] = []
    for thread in threads:
        if thread is threading.current_thread():
            continue
        thread.join(max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX)))
        if thread.is_alive():
            stuck.append(thread.name)
    if stuck:
        raise StuckThreadError(f"did not stop within {timeout:g} s: {', '.join(stuck)}")


class Service(ProcessBound):
    """A part with a thread of its own. Subclasses define `run`, which calls `ready` once and polls `wakeup`.

    `start` returns when the thread is ready, or raises at once the exception that ended it before. `wakeup` is an
    eventfd that is open from `start` to `stop`; it becomes readable when another thread calls `wake`. The thread is
    vital in the sense of `spawn`.
    """

    kind = "service"
    advice = "make one in this process"

    def __init__(self, name: str) -> None:
        self.name = name
        self._ready: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self.stopping = False
        # Guards wakeup. Rank 95.
        self._waking = make_lock(95, f"waking of {name}")
        self.wakeup = -1

    def run(self) -> None:
        """Run the thread: set up, call `ready`, loop until `stopping`, close everything."""
        raise NotImplementedError

    def wake(self) -> None:
        """Wake `run`, so that it checks `stopping` and what else changed; other threads call this."""
        with self._waking:
            if self.wakeup >= 0:
                os.eventfd_write(self.wakeup, 1)

    def clear_wakeup(self) -> None:
        """Make `wakeup` unreadable again; `run` calls this when it is readable."""
        os.eventfd_read(self.wakeup)

    def ready(self) -> None:
        """Let `start` return; `run` calls this when it is set up."""
        self._ready.set_result(None)

    def start(self, timeout: float = 10.0) -> None:
        """Start the thread and wait until it is ready, at most `timeout` seconds; raises the exception of `run`."""
        self.check_process()
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._thread = spawn(self.name, self._main, vital=True)
            # `exception` returns the error and does not raise it, because `run` may itself raise a TimeoutError.
            error = self._ready.exception(timeout)
        except FutureTimeoutError:
            self.stopping = True
            self.wake()
            raise StuckThreadError(f"{self.name} did not start within {timeout:g} s") from None
        except BaseException:
            self.stop(timeout)
            raise
        if error is not None:
            self.stop(timeout)
            raise error

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the thread and join it; does nothing if it never started or has ended, or in a forked child."""
        if self.inherited:
            return
        self.stopping = True
        if self._thread is not None:
            if self._thread.is_alive():
                self.wake()
            join_all([self._thread], timeout)
        with self._waking:
            # Under the lock: if another thread wrote after the close, the number might belong to another file.
            wakeup, self.wakeup = self.wakeup, -1
            if wakeup >= 0:
                os.close(wakeup)

    def _main(self) -> None:
        try:
            self.run()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        else:
            if not self._ready.done():
                self._ready.set_exception(StuckThreadError(f"{self.name} ended before it was ready"))
