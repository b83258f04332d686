"""The `parlour` command on a leash: it ends when its parent process ends, even if the parent is killed.

The leash is a pipe: the parent holds one end and never writes to it, and the other end is standard input here. The
thread `leash` waits for its end of file, which means that the parent has ended. It must never read a person's input.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from parlour.cli import main
from parlour.runtime.threads import spawn

__all__: list[str] = []

STOP_TIMEOUT = 10.0
"""Seconds that the command has to end in order after the parent; then the process ends at once."""


def _watch() -> None:
    # Not sys.stdin: a thread that reads from it holds the lock of its buffer, which the interpreter needs to exit.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOP_TIMEOUT)
    os._exit(1)


if __name__ == "__main__":
    spawn("leash", _watch)
    sys.exit(main())
