"""The members of one room as the node tells them, and the news that the application has not been told yet.

This module owns the set of names and the rules for applying lists and changes to it. It is pure: the room calls it
under the room's lock. It must never report a name as come that was there, nor as gone that was not.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Roster"]


class Roster:
    """The names in a room. `count` may exceed them: after a join a node lists only the first 200."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.bots: set[str] = set()  # the names that are programs, as the node tells
        self.count = 0
        self._known = False  # whether a list came; the names of the first list are no news
        self._listing: set[str] = set()
        self._came: set[str] = set()
        self._went: set[str] = set()

    def change(self, joined: Iterable[str], left: Iterable[str], count: int, bots: Iterable[str] = ()) -> None:
        """Apply a change; names that came but are known, or left but are not known, change nothing."""
        joined, left = set(joined), set(left)
        self.bots = (self.bots - joined) | set(bots)
        self.count = count
        # A list that is coming in parts was made before this change, and will replace the names.
        if self._listing:
            self._listing = (self._listing | joined) - left
        self._become((self.names | joined) - left, joined, left)

    def list(self, names: Iterable[str], count: int, more: bool, bots: Iterable[str] = ()) -> bool:
        """Add one part of a list of names; return whether it was the last part, so that the list counts now."""
        names = set(names)
        self.bots = (self.bots - names) | set(bots)
        self._listing.update(names)
        if more:
            return False
        listing, self._listing = self._listing, set()
        self.count = count
        # A list cut short names members, but does not tell who left.
        now = listing if len(listing) >= count else self.names | listing
        self._become(now, now - self.names, self.names - now)
        self._known = True
        return True

    def relist(self) -> None:
        """Drop the parts of a list that have come, since another list begins, perhaps of another node."""
        self._listing = set()

    def news(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the names that came and those that went, in sum, since `told`; None if there are none."""
        if not self._came and not self._went:
            return None
        return tuple(sorted(self._came)), tuple(sorted(self._went))

    def told(self) -> None:
        """Forget the news, which the application has been told."""
        self._came.clear()
        self._went.clear()

    def _become(self, now: set[str], joined: set[str], left: set[str]) -> None:
        came, went = (joined & now) - self.names, (left & self.names) - now
        self.names = now
        if self._known:
            # A name that came and went again, or went and came back, is no news.
            self._came, self._went = (
                (self._came | (came - self._went)) - went,
                (self._went | (went - self._came)) - came,
            )
