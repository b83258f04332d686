"""Who is in one room, as far as the node told, and what of it the application has not been told yet.

This module owns the set of names and the rules by which lists and changes are applied to it. It is pure: its room
calls it under the room's lock. It must never call a name come that was there, nor gone that was not.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Roster"]


class Roster:
    """The names in a room. `count` may exceed them: after a join a node lists only the first 200."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.bots: set[str] = set()  # those that are programs, as far as the node told
        self.count = 0
        self._known = False  # the names of the first list were there before: they are no news
        self._listing: set[str] = set()
        self._came: set[str] = set()
        self._went: set[str] = set()

    def change(self, joined: Iterable[str], left: Iterable[str], count: int, bots: Iterable[str] = ()) -> None:
        """Apply a change; names that are known to be here, or not to be, change nothing."""
        joined, left = set(joined), set(left)
        self.bots = (self.bots - joined) | set(bots)
        self.count = count
        # A list that comes in parts was drawn up before this change, and replaces the names at its last part.
        if self._listing:
            self._listing = (self._listing | joined) - left
        self._become((self.names | joined) - left, joined, left)

    def list(self, names: Iterable[str], count: int, more: bool, bots: Iterable[str] = ()) -> bool:
        """Take one part of a list of names; return whether it was the last, so that the list now holds."""
        names = set(names)
        self.bots = (self.bots - names) | set(bots)
        self._listing.update(names)
        if more:
            return False
        listing, self._listing = self._listing, set()
        self.count = count
        # A list cut short says who is here, but not who is gone.
        now = listing if len(listing) >= count else self.names | listing
        self._become(now, now - self.names, self.names - now)
        self._known = True
        return True

    def relist(self) -> None:
        """Another list begins, perhaps of another node: what came of the last one does not count."""
        self._listing = set()

    def news(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the names that came and those that went, in sum, since `told`; None if there are none."""
        if not self._came and not self._went:
            return None
        return tuple(sorted(self._came)), tuple(sorted(self._went))

    def told(self) -> None:
        """The application knows the news."""
        self._came.clear()
        self._went.clear()

    def _become(self, now: set[str], joined: set[str], left: set[str]) -> None:
        came, went = (joined & now) - self.names, (left & self.names) - now
        self.names = now
        if self._known:
            # Who came and went again, or went and came back, is no news at all.
            self._came, self._went = (
                (self._came | (came - self._went)) - went,
                (self._went | (went - self._came)) - came,
            )
