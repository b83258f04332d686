"""Where a chat's lines come from: a person at a terminal, or a pipe.

This module owns the two ways to read a line; `read` runs on the program's main thread, and any other thread may call
`interrupt` to end it. It must never leave a reader stuck once the connection is gone.
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
"""Bytes after which a line of a pipe ends though there is no newline: it is too long to be said already."""


class Keyboard(Protocol):
    """A source of lines."""

    def read(self, prompt: Callable[[], str]) -> str:
        """Return the next line; raises EOFError when there is none or `interrupt` was called.

        The last line of what `prompt` returns is the prompt itself, those before it stand dim above it.
        """
        ...

    def refresh(self) -> bool:
        """Show the prompt as it is now; return False if none is ever shown. Called from any thread."""
        ...

    def interrupt(self) -> None:
        """End this and every later `read`; called from any thread."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


class Terminal:
    """A person at a terminal, with an input line that stays whole while other lines arrive above it."""

    def __init__(self, colour: bool, history: History) -> None:
        self._colour = colour
        # What begins like a colour (ESC [ 31 m), as in a text that is pasted, ends like a mouse's event, and is none.
        keys = KeyBindings()
        keys.add(Keys.Vt100MouseEvent)(lambda event: None)
        # A person means the screen by them, and would find a line of before in the place of the one half typed.
        for key in (Keys.PageUp, Keys.PageDown):
            keys.add(key)(lambda event: None)
        keys.add(Keys.BracketedPaste)(_paste)
        # The line is wiped when it is entered: what was said comes back from the room, in its order.
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
        # Between two prompts the system would echo what is typed, in the midst of what is shown.
        self._before = termios.tcgetattr(0)
        silent = list(self._before)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, silent)

    def complete(self, completer: Completer) -> None:
        """Have the Tab key complete what is typed."""
        self._session.completer = completer

    def read(self, prompt: Callable[[], str]) -> str:
        """Prompt for a line; raises KeyboardInterrupt on Ctrl-C, EOFError on Ctrl-D and when interrupted."""
        return self._session.prompt(lambda: self._formatted(prompt()), pre_run=self._end_if_interrupted)

    def refresh(self) -> bool:
        """Show the prompt as it is now; called from any thread."""
        self._session.app.invalidate()
        return True

    def interrupt(self) -> None:
        """End this and every later `read`; called from any thread."""
        self._interrupted = True
        # Without a loop no prompt is up, and the next one will find the mark before it shows.
        loop = self._session.app.loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._end_if_interrupted)
            except RuntimeError:
                pass  # The prompt ended meanwhile.

    def close(self) -> None:
        """Have the terminal as it was."""
        with suppress(termios.error):  # it may be gone
            termios.tcsetattr(0, termios.TCSANOW, self._before)

    def _formatted(self, prompt: str) -> StyleAndTextTuples:
        *above, last = prompt.split("\n")
        columns = self._session.app.output.get_size().columns
        # Not left to the terminal, which would not fold them.
        fold = partial(wrap, width=columns - 1, subsequent_indent="  ", break_on_hyphens=False)
        folded = [part for line in above for part in fold(line)]
        style = "fg:ansibrightblack" if self._colour else ""
        return [*((style, f"{line}\n") for line in folded), ("", last)]

    def _end_if_interrupted(self) -> None:
        future = self._session.app.future
        if self._interrupted and future is not None and not future.done():
            self._session.app.exit(exception=EOFError())


def _paste(event: KeyPressEvent) -> None:
    """Put what was pasted into the line: several lines stay so, and only the Return key has them said."""
    event.current_buffer.insert_text(event.data.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n"))


class Pipe:
    """Lines of a file or pipe, in UTF-8; what is none of it is shown as replaced."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._waking, self._wake = os.pipe()
        self._rest = b""
        self._ended = False

    def read(self, prompt: Callable[[], str]) -> str:
        """Return the next line without its end; raises EOFError after the last and when interrupted."""
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

    def refresh(self) -> bool:
        """Return False: there is no prompt."""
        return False

    def interrupt(self) -> None:
        """End this and every later `read`; called from any thread."""
        os.write(self._wake, b"!")

    def close(self) -> None:
        """Close the pipe that wakes the reader; the descriptor that was given stays open."""
        os.close(self._wake)
        os.close(self._waking)
