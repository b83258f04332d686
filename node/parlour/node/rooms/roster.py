"""The names in one room on all nodes: each node tells its own members, and this module unites them by name.

This module is pure and has no lock: the room's mutex guards its instances. It must never show a name as gone while
one session of that name is left, nor keep a session of a node that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from parlour.wire.codec import frame
from parlour.wire.messages import Members, Presence

__all__ = ["NAMES", "SHOWN", "ClusterRoster", "Sessions"]

NAMES = 200
"""Names in one frame, at most: 200 of the longest fill it."""

SHOWN = NAMES // 4
"""Names in one frame, at most, where some have a display name, which may be as long as the name."""


class Sessions(NamedTuple):
    """Sessions as nodes tell them: their names, None for those that left, and what else is shown of some of them."""

    names: Mapping[str, str | None]
    bots: Collection[str] = ()  # the sessions that are programs
    accounts: Collection[str] = ()  # the sessions that are signed in
    displays: Mapping[str, str] = {}  # the display names of those that have one


class _Shown(NamedTuple):
    """What is shown of a session."""

    name: str
    bot: bool
    account: bool
    display: str


class _NodeMembers:
    """The members on one instance of a node, by their sessions, as of that node's change number `version`."""

    __slots__ = ("members", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.members: dict[str, _Shown] = {}


class ClusterRoster:
    """The names in a room, united from all nodes, and their changes since the last call of `take_changes`."""

    def __init__(self, room: str, version: int = 0) -> None:
        """Count this node's changes from `version` on, which must be above all that it told other nodes before."""
        self._room = room
        self._shares: dict[tuple[str, str], _NodeMembers] = {}
        self._own = _NodeMembers(version)
        self._names: Counter[str] = Counter()
        self._people: Counter[str] = Counter()  # a name's sessions that are not bots
        self._accounts: Counter[str] = Counter()  # a name's sessions that are signed in
        self._displays: dict[str, str] = {}
        self._joined: set[str] = set()
        self._left: dict[str, tuple[bool, str]] = {}  # and how each name was shown: as an account, with which display
        self._listed: set[str] = set()
        self._unpublished: dict[str, str | None] = {}
        self._published = version
        self._grace_ends: dict[str, float] = {}

    # --- names ------------------------------------------------------------------------------------------------

    def others(self, name: str) -> int:
        """Return the number of names without this one."""
        return len(self._names) - (name in self._names)

    def has(self, session: str) -> bool:
        """Return whether a session is in the room, on any node, or in its grace period."""
        return any(session in share.members for share in (self._own, *self._shares.values()))

    @property
    def distinct(self) -> Collection[str]:
        """The distinct names."""
        return self._names.keys()

    def names(self) -> list[str]:
        """Return the distinct names, sorted."""
        return sorted(self._names)

    def members_frames(self, whole: bool) -> list[bytes]:
        """Return the names as `members` frames: all of them, or as many as fit into one frame."""
        names = self.names()
        count = len(names)
        # A change in this list may be undone before the next presence frame. That frame then has to tell it.
        self._listed |= self._joined | self._left.keys()
        if not whole:
            names = names[:NAMES]
        # Display names need place, too, but few people have one.
        size = SHOWN if self._displays else NAMES
        chunks = [names[i : i + size] for i in range(0, len(names), size)] or [[]]
        return [
            frame(Members(self._room, chunk, count, chunk is not chunks[-1], *self._details(chunk))) for chunk in chunks
        ]

    def presence_frame(self) -> bytes:
        """Return the changes since the last call as a `presence` frame; if they are too many, a part of them."""
        came, went = self.take_changes()
        size = SHOWN // 2 if self._displays else NAMES // 2
        came = came[:size]
        return frame(Presence(self._room, came, went[:size], len(self._names), *self._details(came)))

    def _details(self, names: list[str]) -> tuple[list[int], list[int], dict[str, str]]:
        """Return the places in the list of bots and of accounts, and the display names.

        A name is a bot's if all its sessions are bots.
        """
        bots = [place for place, name in enumerate(names) if not self._people[name]]
        accounts = [place for place, name in enumerate(names) if self._accounts[name]]
        return bots, accounts, {name: self._displays[name] for name in names if name in self._displays}

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
        went = self._left.keys() | {name for name in self._listed if name not in self._names}
        for names in (self._joined, self._left, self._listed):
            names.clear()
        return sorted(came), sorted(went)

    # --- this node's own members ------------------------------------------------------------------------------

    def enter(self, session: str, name: str, bot: bool = False, account: bool = False, display: str = "") -> None:
        """Add a session of this node or change what is shown of it; end its grace period if it has come back."""
        self._grace_ends.pop(session, None)
        shown, old = _Shown(name, bot, account, display), self._own.members.get(session)
        if shown != old:
            self._own.members[session] = shown
            self._own.version += 1
            self._unpublished[session] = name
            self._add(shown)
            if old is not None:
                self._remove(old)

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
        shown = self._own.members.pop(session, None)
        if shown is not None:
            self._own.version += 1
            self._unpublished[session] = None
            self._remove(shown)

    @property
    def version(self) -> int:
        """The number of this node's last change."""
        return self._own.version

    def own(self) -> Sessions:
        """Return this node's own members."""
        return self._told({session: shown.name for session, shown in self._own.members.items()})

    def _told(self, names: Mapping[str, str | None]) -> Sessions:
        """Return sessions of this node as other nodes are told of them."""
        shown = {session: self._own.members[session] for session in names if session in self._own.members}
        return Sessions(
            names,
            [session for session, each in shown.items() if each.bot],
            [session for session, each in shown.items() if each.account],
            {session: each.display for session, each in shown.items() if each.display},
        )

    @property
    def unpublished(self) -> bool:
        """Whether there are changes that the other nodes have not been told."""
        return self._published < self._own.version

    def take_unpublished(self) -> tuple[int, int, Sessions]:
        """Return the changes not told to other nodes yet: their first and last number, and the sessions."""
        first, self._published = self._published + 1, self._own.version
        unpublished, self._unpublished = self._unpublished, {}
        return first, self._published, self._told(unpublished)

    # --- the other nodes' members -----------------------------------------------------------------------------

    @property
    def nodes(self) -> set[str]:
        """The nodes that have told their members."""
        return {node for node, _ in self._shares}

    def replace(self, node: str, instance: str, version: int, sessions: Sessions) -> None:
        """Replace the members of another node with those that it had at its change number `version`."""
        share = self._shares.get((node, instance))
        if share is not None and version < share.version:
            return
        fresh = _NodeMembers(version)
        for session, shown in _shown(sessions):
            if shown is not None:
                fresh.members[session] = shown
                self._add(shown)
        if share is not None:
            self._remove_all(share)
        self._shares[node, instance] = fresh

    def change(self, node: str, instance: str, first: int, version: int, sessions: Sessions) -> bool:
        """Apply the changes `first` to `version` of another node; return False if earlier changes are missing."""
        share = self._shares.get((node, instance))
        if share is None:
            return False
        if version <= share.version:
            return True
        if first > share.version + 1:
            return False
        for session, shown in _shown(sessions):
            old = share.members.pop(session, None)
            if shown is not None:
                share.members[session] = shown
                self._add(shown)
            if old is not None:
                self._remove(old)
        share.version = version
        return True

    def forget(self, node: str, instance: str) -> None:
        """Drop the members of a node's instance that is gone; a new start of the node is another instance."""
        share = self._shares.pop((node, instance), None)
        if share is not None:
            self._remove_all(share)

    def _add(self, shown: _Shown) -> None:
        name = shown.name
        before = self._look(name)
        self._names[name] += 1
        self._people[name] += not shown.bot
        self._accounts[name] += shown.account
        if shown.display:
            self._displays[name] = shown.display
        else:
            self._displays.pop(name, None)
        if self._names[name] > 1:
            known = before
        elif name in self._left:
            known = self._left.pop(name)
        else:
            self._joined.add(name)
            return
        if self._look(name) != known:
            self._listed.add(name)

    def _look(self, name: str) -> tuple[bool, str]:
        """Return whether the name is an account's, and its display name."""
        return self._accounts[name] > 0, self._displays.get(name, "")

    def _remove_all(self, share: _NodeMembers) -> None:
        for shown in share.members.values():
            self._remove(shown)

    def _remove(self, shown: _Shown) -> None:
        name, before = shown.name, self._look(shown.name)
        self._names[name] -= 1
        self._people[name] -= not shown.bot
        self._accounts[name] -= shown.account
        if self._names[name] == 0:
            del self._names[name], self._people[name], self._accounts[name]
            self._displays.pop(name, None)
            if name in self._joined:
                self._joined.remove(name)
            else:
                self._left[name] = before


def _shown(sessions: Sessions) -> list[tuple[str, _Shown | None]]:
    """Return what is shown of each session; None if it left."""
    bots, accounts = set(sessions.bots), set(sessions.accounts)
    return [
        (
            session,
            None
            if name is None
            else _Shown(name, session in bots, session in accounts, sessions.displays.get(session, "")),
        )
        for session, name in sessions.names.items()
    ]
