"""The lines that a person has typed and that are not known to be said: which of them to show, and why they wait.

This module owns their table. The main thread adds lines, any thread takes them away or asks for what to show, and a
thread of the chat's sleeps in `sleep` until that changes. It must never print, nor hold its lock while a room is asked.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from parlour.client.display import harmless
from parlour.client.events import Message
from parlour.client.room import Room
from parlour.runtime.locks import make_lock

__all__ = ["Waiting"]

_SHOWN = 0.3
"""Seconds after which a line that is not said is shown as waiting; most are said before anybody could read it."""

_EXPLAINED = 2.0
"""Seconds after which it is shown why."""

_AGAIN = 1.0
"""Seconds between two looks at why, while it is shown."""

_MOST = 5
"""Lines shown at a time; of the others the number."""

_LONG = 60.0
"""Seconds that `sleep` takes at most."""


@dataclass(eq=False)
class _Line:
    room: Room
    text: str
    since: float  # monotonic, in seconds
    told: bool = False  # why it waits, once


class Waiting:
    """The lines that wait, by their posts, in the order of typing."""

    def __init__(self) -> None:
        # Guards all fields below. Rank 60.
        self._lock = make_lock(60, "waiting lines")
        self._changed = threading.Condition(self._lock)
        self._lines: dict[Future[Message], _Line] = {}
        self._closed = False

    @property
    def posts(self) -> list[Future[Message]]:
        """The posts that are not at their end."""
        with self._lock:
            return list(self._lines)

    def add(self, post: Future[Message], room: Room, text: str) -> None:
        """A line was typed and posted to a room."""
        with self._changed:
            self._lines[post] = _Line(room, text, time.monotonic())
            self._changed.notify()

    def take(self, post: Future[Message]) -> str:
        """The post is at its end; return the line."""
        with self._changed:
            self._changed.notify()
            return self._lines.pop(post).text

    def close(self) -> None:
        """End `sleep`, now and for ever."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def sleep(self, at_most: float = _LONG) -> bool:
        """Wait until what is to be shown may be another, or for so many seconds; return False once closed."""
        with self._changed:
            if not self._closed:
                self._changed.wait(max(0.0, min(_LONG, at_most, self._due() - time.monotonic())))
            return not self._closed

    def shown(self) -> list[str]:
        """Return the lines to be shown as waiting now, each followed by why where that has become plain."""
        now = time.monotonic()
        with self._lock:
            waiting = [line for line in self._lines.values() if now - line.since >= _SHOWN]
        lines: list[str] = []
        for line in waiting[:_MOST]:
            lines.append(f"… {harmless(line.text)}")
        if len(waiting) > _MOST:
            lines.append(f"… and {len(waiting) - _MOST} more")
        if waiting and now - waiting[0].since >= _EXPLAINED:
            lines.append(f"not said yet: {_reason(waiting[0].room)}")
        return lines

    def explained(self) -> list[str]:
        """Return why lines wait, each once, for who cannot be shown anything that goes away again."""
        now = time.monotonic()
        with self._lock:
            due = [line for line in self._lines.values() if not line.told and now - line.since >= _EXPLAINED]
            for line in due:
                line.told = True
        return [f"not said yet: {harmless(line.text)} ({_reason(line.room)})" for line in due]

    def _due(self) -> float:
        """Return when what is shown changes though nothing happens; the lock is held."""
        now = time.monotonic()
        due = now + _LONG
        for line in self._lines.values():
            due = min(
                due, next((line.since + age for age in (_SHOWN, _EXPLAINED) if line.since + age > now), now + _AGAIN)
            )
        return due


def _reason(room: Room) -> str:
    return harmless(room.trouble or "there is no answer yet; it is sent again if need be")
