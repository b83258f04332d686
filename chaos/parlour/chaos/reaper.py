"""What outlives a round: a small process that ends whatever the round has left running, and removes its files.

`Reaper` is the round's end of it, which any thread may use; `python -m` of this module is the other, which makes the
round's folder, is told of each process, and acts when its standard input ends: because the round is over, or was
killed. It must never touch a process that it was not told of.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parlour.wire.errors import ParlourError

__all__ = ["Reaper"]

REMOVAL = 5.0
"""Seconds that parts which are ending are given to let go of their files."""


class Reaper:
    """The round's folder, and the process that guards it from the start on.

    Attributes:
        folder: for all files of the round; it is there until the `with` block is over.
    """

    def __init__(self) -> None:
        # In a session of its own, so that Ctrl-C at the terminal reaches us alone.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "parlour.chaos.reaper"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        folder = os.fsdecode(self._process.stdout.readline().rstrip(b"\n"))
        if not folder:
            self.__exit__()
            raise ParlourError("no folder could be made for the round's files: set TMPDIR to one that has room")
        self.folder = Path(folder)

    def __enter__(self) -> Reaper:
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs, and remove the folder."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(2 * REMOVAL)

    def watch(self, pid: int) -> None:
        """Have this process of ours killed, should we no longer be there to do it."""
        assert self._process.stdin is not None
        # So short a line is written whole, whichever threads write at the same time.
        self._process.stdin.write(b"%d\n" % pid)


def _main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="parlour-chaos-"))
    print(folder, flush=True)
    # A descriptor stands for one process for good: its number may be another's by then.
    watched: list[int] = []
    for line in sys.stdin:
        watched = [each for each in watched if not _has_ended(each)]
        try:
            watched.append(os.pidfd_open(int(line)))
        except ProcessLookupError:
            pass  # So soon.
    for each in watched:
        try:
            signal.pidfd_send_signal(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + REMOVAL
    shutil.rmtree(folder, ignore_errors=True)
    # One that is just ending may still write to it.
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if not poll.poll(0):
        return False
    os.close(process)
    return True


if __name__ == "__main__":
    _main()
