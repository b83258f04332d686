"""Who is in one room, on all nodes: each node tells of its own members, this puts them together by name.

This module is pure and has no lock: the room's mutex guards its instances. It must never show a name as gone while
one session of that name is left, nor keep a session of a node that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from parlour.wire.codec import frame
from parlour.wire.messages import Members, Presence

__all__ = ["NAMES", "Roster"]

NAMES = 200
"""Names in one frame: 200 of the longest fill it."""


class _Share:
    """The members on one start of a node: session to name, as of that node's change number `version`."""

    __slots__ = ("bots", "members", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.members: dict[str, str] = {}
        self.bots: set[str] = set()  # those of the sessions that are programs


class Roster:
    """The names in a room, gathered from every node's share, and how they changed since last asked."""

    def __init__(self, room: str, version: int = 0) -> None:
        """Count this node's changes from `version` on, which must be above any it told the others before."""
        self._room = room
        self._shares: dict[tuple[str, str], _Share] = {}
        self._own = _Share(version)
        self._names: Counter[str] = Counter()
        self._people: Counter[str] = Counter()  # how many of a name's sessions are no bots
        self._joined: set[str] = set()
        self._left: set[str] = set()
        self._listed: set[str] = set()
        self._unpublished: dict[str, str | None] = {}
        self._published = version
        self._missed: dict[str, float] = {}

    # --- names ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the distinct names, sorted."""
        return sorted(self._names)

    def members_frames(self, whole: bool) -> list[bytes]:
        """Return the names as `members` frames: all of them, or as many as go into one."""
        names = self.names()
        count = len(names)
        # What is listed now may be undone before the next presence frame, which then has to say so.
        self._listed |= self._joined | self._left
        if not whole:
            names = names[:NAMES]
        chunks = [names[i : i + NAMES] for i in range(0, len(names), NAMES)] or [[]]
        return [
            frame(Members(self._room, chunk, count, chunk is not chunks[-1], self._places_of_bots(chunk)))
            for chunk in chunks
        ]

    def presence_frame(self) -> bytes:
        """Return the changes since the last call as a `presence` frame; of very many, as many as go into it."""
        came, went = self.take_changes()
        came = came[: NAMES // 2]
        return frame(Presence(self._room, came, went[: NAMES // 2], len(self._names), self._places_of_bots(came)))

    def _places_of_bots(self, names: list[str]) -> list[int]:
        """Return where in the list the names are of which all sessions are bots."""
        return [place for place, name in enumerate(names) if not self._people[name]]

    @property
    def changed(self) -> bool:
        """Whether `take_changes` would return any."""
        return bool(self._joined or self._left or self._listed)

    def take_changes(self) -> tuple[list[str], list[str]]:
        """Return the names that came and that went since the last call, sorted.

        Who came and went is in neither, unless a list was made in between: then whoever got it has to be told.
        """
        came = self._joined | {name for name in self._listed if name in self._names}
        went = self._left | {name for name in self._listed if name not in self._names}
        for names in (self._joined, self._left, self._listed):
            names.clear()
        return sorted(came), sorted(went)

    # --- this node's own members ------------------------------------------------------------------------------

    def enter(self, session: str, name: str, bot: bool = False) -> None:
        """A member came in on this node, or is back before it was missed."""
        self._missed.pop(session, None)
        if self._own.members.get(session) != name:
            self.leave(session)
            self._own.members[session] = name
            self._own.version += 1
            self._unpublished[session] = name
            if bot:
                self._own.bots.add(session)
            self._add(name, bot)

    def miss(self, session: str, due: float) -> None:
        """A member's connection broke: it leaves at `due` (monotonic seconds) unless it is back."""
        self._missed[session] = due

    def give_up(self, now: float) -> None:
        """Who was due to be back by now leaves."""
        for session in [session for session, due in self._missed.items() if due <= now]:
            del self._missed[session]
            self.leave(session)

    @property
    def missing(self) -> bool:
        """Whether a member of this node may yet come back."""
        return bool(self._missed)

    def leave(self, session: str) -> None:
        """A member of this node left."""
        name = self._own.members.pop(session, None)
        if name is not None:
            self._own.version += 1
            self._unpublished[session] = None
            self._remove(name, session in self._own.bots)
            self._own.bots.discard(session)

    @property
    def version(self) -> int:
        """How many changes this node's own members made."""
        return self._own.version

    def own(self) -> tuple[dict[str, str], list[str]]:
        """Return this node's own members, session to name, and which of the sessions are bots."""
        return dict(self._own.members), list(self._own.bots)

    @property
    def unpublished(self) -> bool:
        """Whether there are changes that the other nodes have not been told of."""
        return self._published < self._own.version

    def take_unpublished(self) -> tuple[int, int, dict[str, str | None], list[str]]:
        """Return what the other nodes have not been told of yet: first and last change, session to name, and bots."""
        first, self._published = self._published + 1, self._own.version
        unpublished, self._unpublished = self._unpublished, {}
        return first, self._published, unpublished, [session for session in unpublished if session in self._own.bots]

    # --- the other nodes' members -----------------------------------------------------------------------------

    @property
    def nodes(self) -> set[str]:
        """The nodes that have told of their members."""
        return {node for node, _ in self._shares}

    def replace(
        self, node: str, instance: str, version: int, members: Mapping[str, str], bots: Iterable[str] = ()
    ) -> None:
        """A node told of all its members, as of its change number `version`."""
        share = self._shares.get((node, instance))
        if share is not None and version < share.version:
            return
        fresh = _Share(version)
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
        """A node told of its changes `first` to `version`; return False if some before them were missed."""
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
        """A node is gone, and its members with it; what it tells since it started anew is another instance's."""
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

    def _remove_all(self, share: _Share) -> None:
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
