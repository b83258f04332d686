"""The lines that a person typed in earlier chats, kept in a file, and the completions of the Tab key.

This module owns that file, which is bounded and has mode 600, and the completion; it runs on the main thread. It must
never end a chat because the file cannot be used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import platformdirs
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import History

from parlour.client.commands import NAMES
from parlour.runtime.folders import PRIVATE, home_folder, open_private
from parlour.wire.errors import ParlourError

__all__ = ["InputHistory", "TabCompleter"]

_MOST = 1000
"""Most lines kept."""

_MOST_BYTES = 256 * 1024
"""Most bytes kept."""


class InputHistory(History):
    """The lines typed before, newest first. `trouble` is the reason why lines are not kept, or None."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: str | None = None
        try:
            self._path = home_folder(platformdirs.user_state_path, "XDG_STATE_HOME") / "typed"
            self._shorten()
        except (ParlourError, OSError) as error:
            self.trouble = f"what you type is not kept: {error}"

    def load_history_strings(self) -> Iterable[str]:
        """Yield the lines kept, newest first."""
        if self.trouble is None:
            yield from (line for _, line in reversed(self._read()))

    def store_string(self, string: str) -> None:
        """Keep a line; several chats may do so at the same time."""
        if self.trouble is None:
            try:
                with open(self._path, "ab", opener=open_private) as file:
                    file.write(json.dumps(string).encode() + b"\n")
            except OSError:
                pass  # The line is posted all the same.

    def _read(self) -> list[tuple[int, str]]:
        """Return the lines, each with its size in the file."""
        lines: list[tuple[int, str]] = []
        try:
            data = self._path.read_bytes()
        except OSError:
            return lines
        for record in data.splitlines():
            try:
                line = json.loads(record)
            except ValueError:
                continue  # A part of a line, written when the machine stopped.
            if isinstance(line, str):
                lines.append((len(record) + 1, line))
        return lines

    def _shorten(self) -> None:
        """Drop old lines from the file, and close it to other users."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path, "ab", opener=open_private) as file:
            os.fchmod(file.fileno(), PRIVATE)
        lines = self._read()
        kept: list[str] = []
        left = _MOST_BYTES
        for size, line in reversed(lines[-_MOST:]):
            left -= size
            if left < 0:
                break
            kept.append(line)
        if len(kept) < len(lines):
            draft = self._path.with_name(f"typed.{os.getpid()}")
            with open(draft, "wb", opener=open_private) as file:
                file.write(b"".join(json.dumps(line).encode() + b"\n" for line in reversed(kept)))
            draft.replace(self._path)


class TabCompleter(Completer):
    """Completes commands, rooms behind the commands that take one, and names of the people in the room."""

    def __init__(self, rooms: Callable[[], Sequence[str]], people: Callable[[], Sequence[str]]) -> None:
        self._rooms = rooms
        self._people = people

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield the completions of the text before the cursor."""
        text = document.text_before_cursor
        command, blank, room = text.partition(" ")
        if blank and command in ("/join", "/leave"):
            yield from _beginning(room, self._rooms(), "")
        elif text.startswith("/") and not blank:
            yield from _beginning(text, NAMES, " ")
        else:
            word = text[max(text.rfind(" "), text.rfind("\n")) + 1 :]
            # The first name of a line is followed by a colon: that person is addressed.
            yield from _beginning(word, self._people(), ": " if word == text else " ") if word else ()


def _beginning(start: str, whole: Sequence[str], end: str) -> Iterator[Completion]:
    for each in whole:
        if each.casefold().startswith(start.casefold()):
            yield Completion(each + end, -len(start), display=each)
