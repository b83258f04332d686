"""Threads, started in one way: named, joined with a deadline, and reported by name if they will not stop.

This module owns the starting and joining of every thread of parlour. It must never start a thread without a name,
nor wait for one without a deadline.
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
    """Threads that did not start or stop within their deadline; the text names them."""


class FailedThreadError(ParlourError):
    """A thread without which the program is of no use has ended in an exception, which is the cause of this one."""


def spawn(name: str, target: Callable[..., object], *args: object, vital: bool = False) -> threading.Thread:
    """Start a thread of this name that runs `target(*args)`; raises RuntimeError if the system has none left.

    What a `vital` thread raises reaches `threading.excepthook` as FailedThreadError. Threads are daemonic so that one
    that is stuck cannot hold the process; all are joined with a deadline. The system knows them by the end of the name.
    """
    if vital:
        target, args = _run_vital, (target, *args)
    thread = threading.Thread(target=_run_named, args=(target, *args), name=name, daemon=True)
    thread.start()
    return thread


def _run_named(target: Callable[..., object], *args: object) -> None:
    # For `top -H` and `ps -L`. To write it to /proc would give up the interpreter: 80 µs more for each client.
    _set_name(threading.get_ident(), threading.current_thread().name.encode()[-_COMM:])
    target(*args)


def _run_vital(target: Callable[..., object], *args: object) -> None:
    try:
        target(*args)
    except BaseException as error:
        name, text = threading.current_thread().name, " ".join(str(error).split())
        raise FailedThreadError(
            f"the thread {name} failed: {type(error).__name__}: {text}: a bug in parlour"
        ) from error


def join_all(threads: Iterable[threading.Thread], timeout: float) -> None:
    """Join the threads within `timeout` seconds for all together; raises StuckThreadError naming the others."""
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
    """A part with a thread of its own. Subclasses write `run`, which calls `ready` once and polls `wakeup`.

    `start` returns once the thread is ready and re-raises at once what went wrong in it before that. `wakeup` is an
    eventfd that is open from `start` to `stop` and becomes readable when another thread calls `wake`. Its thread is
    vital, as `spawn` puts it.
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
        """The thread's body: set up, call `ready`, loop until `stopping`, close what was opened."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make `run` look at `stopping`, and at what else changed, now; called from other threads."""
        with self._waking:
            if self.wakeup >= 0:
                os.eventfd_write(self.wakeup, 1)

    def clear_wakeup(self) -> None:
        """Called by `run` when `wakeup` was readable, so that it can become so again."""
        os.eventfd_read(self.wakeup)

    def ready(self) -> None:
        """Called by `run` when it is set up: `start` returns."""
        self._ready.set_result(None)

    def start(self, timeout: float = 10.0) -> None:
        """Start the thread and wait until it is ready, at most `timeout` seconds; raises what `run` raised."""
        self.check_process()
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._thread = spawn(self.name, self._main, vital=True)
            # Asked for rather than raised, as what `run` raised may itself be a TimeoutError.
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
        """Ask the thread to end and join it; harmless if it never started or has ended, or in a child of a fork."""
        if self.inherited:
            return
        self.stopping = True
        if self._thread is not None:
            if self._thread.is_alive():
                self.wake()
            join_all([self._thread], timeout)
        with self._waking:
            # Closed while another thread writes to it, its number might be another file's by then.
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
