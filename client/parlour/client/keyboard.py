"""The source of a chat's lines: a person at a terminal, or a pipe.

This module owns the two ways to read a line. `read` runs on the main thread, and any other thread may call `interrupt`
to end it. A reader must never stay blocked once the connection is gone.
"""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from textwrap import wrap
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.shortcuts import CompleteStyle

__all__ = ["Keyboard", "Pipe", "Terminal"]


_LONGEST = 64 * 1024
"""Bytes after which a line of a pipe ends without a newline: it is too long to be posted anyway."""


class Keyboard(Protocol):
    """A source of lines."""

    def read(self, prompt: Callable[[], str]) -> str:
        """Return the next line; raises EOFError when there is none or `interrupt` was called.

        The last line that `prompt` returns is the prompt itself; the lines before it are shown dim above it.
        """
        ...

    def read_secret(self, question: str) -> str:
        """Return a line that is not shown while it is typed; raises as `read` does."""
        ...

    def refresh(self) -> bool:
        """Show the prompt as it is now; return False if there is no prompt. Any thread may call this."""
        ...

    def interrupt(self) -> None:
        """End this and every later `read`. Any thread may call this."""
        ...

    def close(self) -> None:
        """Close what was opened, and restore the terminal."""
        ...


class Terminal:
    """A person at a terminal, whose input line stays whole while other lines are printed above it."""

    def __init__(self, colour: bool, history: History) -> None:
        self._colour = colour
        # In a pasted text a colour (ESC [ 31 m) looks like an event of a mouse, but is none.
        keys = KeyBindings()
        keys.add(Keys.Vt100MouseEvent)(lambda event: None)
        # A person who presses them means the screen, and does not want an older line in place of the current one.
        for key in (Keys.PageUp, Keys.PageDown):
            keys.add(key)(lambda event: None)
        keys.add(Keys.BracketedPaste)(_paste)
        # The line is erased when it is entered: the message comes back from the room, in its order.
        self._session: PromptSession[str] = PromptSession(
            erase_when_done=True,
            key_bindings=keys,
            history=history,
            enable_suspend=True,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
        )
        self._interrupted = False
        # Between two prompts the system would echo typed characters into the output.
        self._before = termios.tcgetattr(0)
        silent = list(self._before)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, silent)

    def complete(self, completer: Completer) -> None:
        """Use this completer for the Tab key."""
        self._session.completer = completer

    def read(self, prompt: Callable[[], str]) -> str:
        """Prompt for a line; raises KeyboardInterrupt on Ctrl-C, EOFError on Ctrl-D and when interrupted."""
        return self._session.prompt(lambda: self._formatted(prompt()), pre_run=self._end_if_interrupted)

    def read_secret(self, question: str) -> str:
        """Prompt for a line that is not shown, and is not remembered; raises as `read` does."""
        session: PromptSession[str] = PromptSession(erase_when_done=True)
        return session.prompt(question, is_password=True)

    def refresh(self) -> bool:
        """Show the prompt as it is now. Any thread may call this."""
        self._session.app.invalidate()
        return True

    def interrupt(self) -> None:
        """End this and every later `read`. Any thread may call this."""
        self._interrupted = True
        # Without a loop there is no prompt now, and the next one checks the flag before it shows.
        loop = self._session.app.loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._end_if_interrupted)
            except RuntimeError:
                pass  # The prompt ended meanwhile.

    def close(self) -> None:
        """Restore the terminal."""
        with suppress(termios.error):  # The terminal may be gone.
            termios.tcsetattr(0, termios.TCSANOW, self._before)

    def _formatted(self, prompt: str) -> StyleAndTextTuples:
        *above, last = prompt.split("\n")
        columns = self._session.app.output.get_size().columns
        # Fold the lines here, as the terminal would not.
        fold = partial(wrap, width=columns - 1, subsequent_indent="  ", break_on_hyphens=False)
        folded = [part for line in above for part in fold(line)]
        style = "fg:ansibrightblack" if self._colour else ""
        return [*((style, f"{line}\n") for line in folded), ("", last)]

    def _end_if_interrupted(self) -> None:
        future = self._session.app.future
        if self._interrupted and future is not None and not future.done():
            self._session.app.exit(exception=EOFError())


def _paste(event: KeyPressEvent) -> None:
    """Insert a pasted text into the input line; several lines stay several, and only the Return key posts them."""
    event.current_buffer.insert_text(event.data.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n"))


class Pipe:
    """Lines of a file or pipe in UTF-8; wrong bytes become U+FFFD."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._waking, self._wake = os.pipe()
        self._rest = b""
        self._ended = False

    def read(self, prompt: Callable[[], str]) -> str:
        """Return the next line without its newline; raises EOFError after the last line and when interrupted."""
        while b"\n" not in self._rest and not self._ended and len(self._rest) < _LONGEST:
            ready, _, _ = select.select([self._descriptor, self._waking], [], [])
            if self._waking in ready:
                raise EOFError
            data = os.read(self._descriptor, 65536)
            self._ended = not data
            self._rest += data
        if not self._rest:
            raise EOFError
        line, _, self._rest = self._rest.partition(b"\n")
        return line.removesuffix(b"\r").decode(errors="replace")

    def read_secret(self, question: str) -> str:
        """Return the next line; raises as `read` does."""
        return self.read(lambda: question)

    def refresh(self) -> bool:
        """Return False: there is no prompt."""
        return False

    def interrupt(self) -> None:
        """End this and every later `read`. Any thread may call this."""
        os.write(self._wake, b"!")

    def close(self) -> None:
        """Close the pipe that wakes the reader; the given descriptor stays open."""
        os.close(self._wake)
        os.close(self._waking)
