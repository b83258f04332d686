"""The pause between two posts of a member in a room that is slow: when each person may post again.

This module is pure; the room's combiner alone uses it. It knows only the posts that came to this node. It must never
count a post that was not logged.
"""

from __future__ import annotations

from collections.abc import Collection

from parlour.wire.people import Person

__all__ = ["SlowMode"]

REMEMBERED = 10_000
"""People, at most, whose last posts are remembered; above it those are forgotten who may post again."""


class SlowMode:
    """The times of the last posts of people in one room, in ms since the Unix epoch."""

    def __init__(self) -> None:
        self._last: dict[Person, int] = {}

    def wait(self, person: Person, pause: int, now: int) -> int:
        """Return for how many ms a person must wait before the next post; `pause` is in seconds."""
        return max(0, self._last.get(person, 0) + 1000 * pause - now) if person in self._last else 0

    def note(self, people: Collection[Person], pause: int, now: int) -> None:
        """Note that these people have posted just now."""
        if len(self._last) > REMEMBERED:
            self._last = {person: at for person, at in self._last.items() if at + 1000 * pause > now}
        self._last.update(dict.fromkeys(people, now))
