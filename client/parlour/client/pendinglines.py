"""The typed lines that are not acknowledged: which of them to show, and the reason why they wait.

This module owns their table. The main thread adds lines; any thread may remove them or ask what to show; a thread of
the conversation waits in `sleep` until that changes. It must never print, nor call a room while it holds its lock.
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

__all__ = ["PendingLines"]

_SHOWN = 0.3
"""Seconds after which a line is shown as waiting; most lines are said sooner."""

_EXPLAINED = 2.0
"""Seconds after which the reason is shown, too."""

_AGAIN = 1.0
"""Seconds between two updates of the reason."""

_MOST = 5
"""Most lines shown at a time; of the others only the number is shown."""

_LONG = 60.0
"""Longest wait of `sleep`, in seconds."""


@dataclass(eq=False)
class _Line:
    room: Room
    text: str
    since: float  # monotonic, in seconds
    told: bool = False  # whether `explained` returned it


class PendingLines:
    """The lines that wait, by their posts, in the order of typing."""

    def __init__(self) -> None:
        # Guards all fields below. Rank 60.
        self._lock = make_lock(60, "waiting lines")
        self._changed = threading.Condition(self._lock)
        self._lines: dict[Future[Message], _Line] = {}
        self._closed = False

    @property
    def posts(self) -> list[Future[Message]]:
        """The posts that have no outcome yet."""
        with self._lock:
            return list(self._lines)

    def add(self, post: Future[Message], room: Room, text: str) -> None:
        """Add a line that was posted to a room."""
        with self._changed:
            self._lines[post] = _Line(room, text, time.monotonic())
            self._changed.notify()

    def take(self, post: Future[Message]) -> str:
        """Remove the line of a post that has its outcome, and return it."""
        with self._changed:
            self._changed.notify()
            return self._lines.pop(post).text

    def close(self) -> None:
        """End this and every later `sleep`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def sleep(self, at_most: float = _LONG) -> bool:
        """Wait until `shown` may have changed, or for so many seconds; return False once closed."""
        with self._changed:
            if not self._closed:
                self._changed.wait(max(0.0, min(_LONG, at_most, self._due() - time.monotonic())))
            return not self._closed

    def shown(self) -> list[str]:
        """Return the lines to show as waiting now, followed by the reason if they have waited for long."""
        now = time.monotonic()
        with self._lock:
            waiting = [line for line in self._lines.values() if now - line.since >= _SHOWN]
        lines: list[str] = []
        for line in waiting[:_MOST]:
            lines.append(f"… {harmless(line.text)}")
        if len(waiting) > _MOST:
            lines.append(f"… and {len(waiting) - _MOST} more")
        if waiting and now - waiting[0].since >= _EXPLAINED:
            lines.append(f"not sent yet: {_reason(waiting[0].room)}")
        return lines

    def explained(self) -> list[str]:
        """Return each line that has waited for long, once, with the reason: for output that cannot be removed again."""
        now = time.monotonic()
        with self._lock:
            due = [line for line in self._lines.values() if not line.told and now - line.since >= _EXPLAINED]
            for line in due:
                line.told = True
        return [f"not sent yet: {harmless(line.text)} ({_reason(line.room)})" for line in due]

    def _due(self) -> float:
        """Return when `shown` changes even if nothing happens; the lock is held."""
        now = time.monotonic()
        due = now + _LONG
        for line in self._lines.values():
            due = min(
                due, next((line.since + age for age in (_SHOWN, _EXPLAINED) if line.since + age > now), now + _AGAIN)
            )
        return due


def _reason(room: Room) -> str:
    return harmless(room.trouble or "there is no answer yet; it will be sent again if necessary")
