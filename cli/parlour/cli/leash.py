"""The `parlour` command on a leash: it ends when the process that started it does, even if that was killed.

This module owns the thread that watches standard input, a pipe whose other end the starter holds and never writes
to: its end of file means that the starter is gone. It must never read what a person types.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from parlour.cli import main
from parlour.runtime.threads import spawn

__all__: list[str] = []

PATIENCE = 10.0
"""Seconds that the command is given to end in an orderly way."""


def _watch() -> None:
    # Not sys.stdin: its buffer's lock, held by a thread that reads, would trouble the interpreter's end.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    spawn("leash", _watch)
    sys.exit(main())
