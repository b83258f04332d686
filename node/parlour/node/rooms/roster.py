"""The names in one room on all nodes: each node tells its own members, and this module unites them by name.

This module is pure and has no lock: the room's mutex guards its instances. It must never show a name as gone while
one session of that name is left, nor keep a session of a node that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from parlour.wire.codec import frame
from parlour.wire.messages import Members, Presence

__all__ = ["NAMES", "ClusterRoster"]

NAMES = 200
"""Names in one frame, at most: 200 of the longest fill it."""


class _NodeMembers:
    """The members on one instance of a node: session to name, as of that node's change number `version`."""

    __slots__ = ("bots", "members", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.members: dict[str, str] = {}
        self.bots: set[str] = set()  # the sessions that are programs


class ClusterRoster:
    """The names in a room, united from all nodes, and their changes since the last call of `take_changes`."""

    def __init__(self, room: str, version: int = 0) -> None:
        """Count this node's changes from `version` on, which must be above all that it told other nodes before."""
        self._room = room
        self._shares: dict[tuple[str, str], _NodeMembers] = {}
        self._own = _NodeMembers(version)
        self._names: Counter[str] = Counter()
        self._people: Counter[str] = Counter()  # a name's sessions that are not bots
        self._joined: set[str] = set()
        self._left: set[str] = set()
        self._listed: set[str] = set()
        self._unpublished: dict[str, str | None] = {}
        self._published = version
        self._grace_ends: dict[str, float] = {}

    # --- names ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the distinct names, sorted."""
        return sorted(self._names)

    def members_frames(self, whole: bool) -> list[bytes]:
        """Return the names as `members` frames: all of them, or as many as fit into one frame."""
        names = self.names()
        count = len(names)
        # A change in this list may be undone before the next presence frame. That frame then has to tell it.
        self._listed |= self._joined | self._left
        if not whole:
            names = names[:NAMES]
        chunks = [names[i : i + NAMES] for i in range(0, len(names), NAMES)] or [[]]
        return [
            frame(Members(self._room, chunk, count, chunk is not chunks[-1], self._places_of_bots(chunk)))
            for chunk in chunks
        ]

    def presence_frame(self) -> bytes:
        """Return the changes since the last call as a `presence` frame; if they are too many, a part of them."""
        came, went = self.take_changes()
        came = came[: NAMES // 2]
        return frame(Presence(self._room, came, went[: NAMES // 2], len(self._names), self._places_of_bots(came)))

    def _places_of_bots(self, names: list[str]) -> list[int]:
        """Return the places in the list of the names whose sessions all are bots."""
        return [place for place, name in enumerate(names) if not self._people[name]]

    @property
    def changed(self) -> bool:
        """Whether `take_changes` would return a change."""
        return bool(self._joined or self._left or self._listed)

    def take_changes(self) -> tuple[list[str], list[str]]:
        """Return the names that came and the names that went since the last call, sorted.

        A name that came and went again is in neither list, unless `members_frames` was called in between: the members
        that got those frames have to be told.
        """
        came = self._joined | {name for name in self._listed if name in self._names}
        went = self._left | {name for name in self._listed if name not in self._names}
        for names in (self._joined, self._left, self._listed):
            names.clear()
        return sorted(came), sorted(went)

    # --- this node's own members ------------------------------------------------------------------------------

    def enter(self, session: str, name: str, bot: bool = False) -> None:
        """Add a session of this node, or end its grace period if it has come back."""
        self._grace_ends.pop(session, None)
        if self._own.members.get(session) != name:
            self.leave(session)
            self._own.members[session] = name
            self._own.version += 1
            self._unpublished[session] = name
            if bot:
                self._own.bots.add(session)
            self._add(name, bot)

    def start_grace(self, session: str, due: float) -> None:
        """Keep a session whose connection broke until `due` (monotonic seconds); `enter` keeps it for good."""
        self._grace_ends[session] = due

    def drop_expired(self, now: float) -> None:
        """Drop the sessions whose grace period ends by `now`."""
        for session in [session for session, due in self._grace_ends.items() if due <= now]:
            del self._grace_ends[session]
            self.leave(session)

    @property
    def in_grace(self) -> bool:
        """Whether a session of this node is in its grace period."""
        return bool(self._grace_ends)

    def leave(self, session: str) -> None:
        """Remove a session of this node."""
        name = self._own.members.pop(session, None)
        if name is not None:
            self._own.version += 1
            self._unpublished[session] = None
            self._remove(name, session in self._own.bots)
            self._own.bots.discard(session)

    @property
    def version(self) -> int:
        """The number of this node's last change."""
        return self._own.version

    def own(self) -> tuple[dict[str, str], list[str]]:
        """Return this node's own members, session to name, and the sessions that are bots."""
        return dict(self._own.members), list(self._own.bots)

    @property
    def unpublished(self) -> bool:
        """Whether there are changes that the other nodes have not been told."""
        return self._published < self._own.version

    def take_unpublished(self) -> tuple[int, int, dict[str, str | None], list[str]]:
        """Return the changes not told to other nodes yet: first and last number, session to name, and bots."""
        first, self._published = self._published + 1, self._own.version
        unpublished, self._unpublished = self._unpublished, {}
        return first, self._published, unpublished, [session for session in unpublished if session in self._own.bots]

    # --- the other nodes' members -----------------------------------------------------------------------------

    @property
    def nodes(self) -> set[str]:
        """The nodes that have told their members."""
        return {node for node, _ in self._shares}

    def replace(
        self, node: str, instance: str, version: int, members: Mapping[str, str], bots: Iterable[str] = ()
    ) -> None:
        """Replace the members of another node with those that it had at its change number `version`."""
        share = self._shares.get((node, instance))
        if share is not None and version < share.version:
            return
        fresh = _NodeMembers(version)
        fresh.members.update(members)
        fresh.bots.update(session for session in bots if session in members)
        for session, name in fresh.members.items():
            self._add(name, session in fresh.bots)
        if share is not None:
            self._remove_all(share)
        self._shares[node, instance] = fresh

    def change(
        self,
        node: str,
        instance: str,
        first: int,
        version: int,
        members: Mapping[str, str | None],
        bots: Collection[str] = (),
    ) -> bool:
        """Apply the changes `first` to `version` of another node; return False if earlier changes are missing."""
        share = self._shares.get((node, instance))
        if share is None:
            return False
        if version <= share.version:
            return True
        if first > share.version + 1:
            return False
        for session, name in members.items():
            old, was_bot = share.members.pop(session, None), session in share.bots
            share.bots.discard(session)
            if name is not None:
                share.members[session] = name
                if session in bots:
                    share.bots.add(session)
                self._add(name, session in bots)
            if old is not None:
                self._remove(old, was_bot)
        share.version = version
        return True

    def forget(self, node: str, instance: str) -> None:
        """Drop the members of a node's instance that is gone; a new start of the node is another instance."""
        share = self._shares.pop((node, instance), None)
        if share is not None:
            self._remove_all(share)

    def _add(self, name: str, bot: bool) -> None:
        self._names[name] += 1
        self._people[name] += not bot
        if self._names[name] == 1:
            if name in self._left:
                self._left.remove(name)
            else:
                self._joined.add(name)

    def _remove_all(self, share: _NodeMembers) -> None:
        for session, name in share.members.items():
            self._remove(name, session in share.bots)

    def _remove(self, name: str, bot: bool) -> None:
        self._names[name] -= 1
        self._people[name] -= not bot
        if self._names[name] == 0:
            del self._names[name], self._people[name]
            if name in self._joined:
                self._joined.remove(name)
            else:
                self._left.add(name)
