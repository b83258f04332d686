"""A terminal with several panes for a test: it types like a person, and reads the screen like a person.

This module owns the tmux server of one test, on the test's thread. It must never wait for a screen without a deadline.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from support.waiting import eventually

__all__ = ["MISSING", "Tmux", "tmux"]

MISSING = "" if shutil.which("tmux") else "TMUX IS NOT INSTALLED: the terminal chat is not tested at all without it"
"""Why the tests that need a terminal cannot run, or nothing."""

SECONDS = 15


class Tmux:
    """A terminal with several panes."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")
        self.state = folder / "state"
        """The home folder of its programs."""
        self.panes: list[str] = []

    def _run(self, *arguments: str) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", self._socket, *arguments]
        # The server and all its programs have the environment of the first command.
        environment = os.environ | {"XDG_STATE_HOME": str(self.state), "TERM": "xterm-256color"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS, env=environment)
        return done.stdout

    def open(self, *command: str) -> int:
        """Start a command in a new window and return its number; the exit status is shown at its end."""
        line = f"{shlex.join(command)}; echo exit=$?; read wait"
        new = ["new-window"] if self.panes else ["new-session", "-d", "-x", "80", "-y", "24"]
        self.panes.append(self._run(*new, "-P", "-F", "#{pane_id}", line).strip())
        return len(self.panes) - 1

    def type(self, pane: int, text: str, *keys: str) -> None:
        """Type a text, then press keys."""
        self._run("send-keys", "-t", self.panes[pane], "-l", text)
        self.press(pane, *keys)

    def press(self, pane: int, *keys: str) -> None:
        """Press keys by their tmux names."""
        if keys:
            self._run("send-keys", "-t", self.panes[pane], *keys)

    def paste(self, pane: int, text: str) -> None:
        """Paste a text in bracketed mode, as terminals do for programs that ask for it."""
        self._run("set-buffer", "--", text)
        self._run("paste-buffer", "-p", "-r", "-t", self.panes[pane])

    def rang(self, pane: int) -> bool:
        """Whether a bell has rung in a pane that is not in front."""
        return self._run("display-message", "-p", "-t", self.panes[pane], "#{window_bell_flag}").strip() == "1"

    def raw(self, pane: int) -> str:
        """Return the screen with its colours."""
        return self._run("capture-pane", "-p", "-e", "-t", self.panes[pane])

    def lines(self, pane: int) -> list[str]:
        """Return the visible lines without blank ones."""
        screen = self._run("capture-pane", "-p", "-t", self.panes[pane])
        return [line.rstrip() for line in screen.splitlines() if line.strip()]

    def shows(self, pane: int, end: str) -> None:
        """Wait until a line with this end is on the screen."""
        try:
            eventually(lambda: any(line.endswith(end) for line in self.lines(pane)), SECONDS)
        except AssertionError:
            raise AssertionError(f"{end!r} is not on the screen:\n" + "\n".join(self.lines(pane))) from None

    def close(self) -> None:
        """End the terminal and all programs in it."""
        if self.panes:
            self._run("kill-server")


@contextmanager
def tmux() -> Iterator[Tmux]:
    """Run a terminal until the block ends."""
    # Not in the test's own folder, because a socket's path has at most 107 bytes.
    with TemporaryDirectory(prefix="parlour-") as folder:
        terminal = Tmux(Path(folder))
        try:
            yield terminal
        finally:
            terminal.close()
