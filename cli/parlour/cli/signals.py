"""The signals for a process that watches child processes: stop, and "a child has ended".

This module owns their handlers while a `Signals` is entered, on the main thread. A handler must never raise: only
`wait` raises, so that a stop cannot come between the start of a child and the moment when the child is recorded.
"""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType
from typing import Any

__all__ = ["Signals"]

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """A context in which SIGINT, SIGTERM and SIGHUP ask for a stop, and each of these and SIGCHLD ends `wait`."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[signal.Signals, Any] = {}
        self._before_fd = -1

    def __enter__(self) -> Signals:
        # The interpreter writes a byte to this pair on every signal, which ends `wait`.
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._before_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in (*_STOPS, signal.SIGCHLD):
            # Under nohup SIGHUP stays ignored.
            if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._receiver.close()
        self._sender.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self.stopped = True

    def wait(self, timeout: float) -> None:
        """Wait for a signal, at most `timeout` seconds; raises KeyboardInterrupt if a signal has asked for a stop."""
        if not self.stopped:
            select.select([self._receiver], [], [], timeout)
            try:
                self._receiver.recv(4096)
            except BlockingIOError:
                pass
        if self.stopped:
            raise KeyboardInterrupt
