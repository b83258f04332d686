"""The reaper: a small process that outlives a round, kills what the round left running and removes its files.

`Reaper` is its face in the round's process; any thread may use it. `python -m` of this module is the reaper itself: it
makes the round's folder, reads the number of each process, and acts when its standard input ends, because the round is
over or was killed. It must never touch a process whose number it was not given.
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
"""Seconds that dying parts have to close their files."""


class Reaper:
    """The round's folder, and the reaper that removes it.

    Attributes:
        folder: the folder for all files of the round, until the `with` block ends.
    """

    def __init__(self) -> None:
        # In a session of its own, so that Ctrl-C at the terminal does not reach it.
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
        """Kill the parts that still run, and remove the folder."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(2 * REMOVAL)

    def watch(self, pid: int) -> None:
        """Have the reaper kill this process of the round at the end, even if the round itself was killed."""
        assert self._process.stdin is not None
        # A line this short is written whole, also if other threads write at the same time.
        self._process.stdin.write(b"%d\n" % pid)


def _main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="parlour-chaos-"))
    print(folder, flush=True)
    # A descriptor always means the same process; a process number may be given out again.
    watched: list[int] = []
    for line in sys.stdin:
        watched = [each for each in watched if not _has_ended(each)]
        try:
            watched.append(os.pidfd_open(int(line)))
        except ProcessLookupError:
            pass  # It has ended already.
    for each in watched:
        try:
            signal.pidfd_send_signal(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + REMOVAL
    shutil.rmtree(folder, ignore_errors=True)
    # A part that is just ending may still write to the folder.
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
