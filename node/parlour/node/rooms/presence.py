"""The presence of a room: the list of names, and the times at which members and other nodes are told its changes.

This module owns a room's roster and the schedule of its news. The room's mutex guards its instances: the caller of each
method holds it, and `wait_for_peers` gives it up while it waits. It must never send anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from parlour.node.rooms.batch import Encoded
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.member import Member
from parlour.node.rooms.roster import ClusterRoster, Sessions
from parlour.node.rooms.throttle import Throttle
from parlour.wire import relay as wire

__all__ = ["PresenceNews", "RoomPresence"]


class PresenceNews(NamedTuple):
    """The presence data to send now."""

    unpublished: wire.PresenceDelta | None
    """For the other nodes."""
    changes: Encoded | None
    """For all members: a `presence` frame."""
    lists: dict[Member[Any], Encoded]
    """For members that asked: `members` frames."""


class RoomPresence:
    """The presence of one room."""

    def __init__(self, room: str, context: RoomContext, mutex: threading.Lock, due: Callable[[], object]) -> None:
        """Have `due` called when delayed changes may be told."""
        # A room that is made again after it was empty must not count its changes from the same number.
        self._roster = ClusterRoster(room, time.monotonic_ns() // 1000)
        self._node, self._instance = context.node, context.instance
        self._throttle = Throttle(context.scheduler, context.settings.presence_interval, due)
        self._wanted: dict[Member[Any], bool] = {}
        self._unheard: set[str] = set()
        self._heard_all = threading.Condition(mutex)

    # --- this node's members ------------------------------------------------------------------------------------

    def enter(self, member: Member[Any]) -> None:
        """Show a member as it is now, unless it is an observer."""
        if not member.observer:
            person = member.person
            self._roster.enter(member.session, person.name, member.bot, bool(person.account), person.display)

    def leave(self, member: Member[Any], grace: float | None) -> None:
        """Remove a member; with `grace`, its session stays in the list for so many seconds."""
        self._wanted.pop(member, None)
        if grace is not None:
            self._roster.start_grace(member.session, time.monotonic() + grace)

    def drop_expired(self) -> None:
        """Drop the sessions whose grace period has ended."""
        self._roster.drop_expired(time.monotonic())

    def want(self, member: Member[Any], whole: bool) -> None:
        """Put the list of names for a member into the next news; at most 200 names unless `whole`."""
        self._wanted[member] = whole or self._wanted.get(member, False)

    # --- the other nodes' members -------------------------------------------------------------------------------

    def replace(self, header: wire.PresenceSnapshot) -> None:
        """Replace all members of another node."""
        self._roster.replace(header.node, header.instance, header.version, _sessions(header))
        self._heard(header.node)

    def change(self, header: wire.PresenceDelta) -> bool:
        """Apply changes among the members of another node; return False if earlier changes are missing."""
        return self._roster.change(header.node, header.instance, header.first, header.version, _sessions(header))

    def forget(self, node: str, instance: str) -> None:
        """Drop the members of a node that is gone."""
        self._roster.forget(node, instance)
        self._heard(node)

    def wait_for_peers(self, peers: set[str], timeout: float) -> None:
        """Wait, at most `timeout` seconds, until each of these nodes has told its members. The mutex is held."""
        self._unheard = peers - self._roster.nodes
        self._heard_all.wait_for(lambda: not self._unheard, timeout)
        self._unheard.clear()

    def _heard(self, node: str) -> None:
        if node in self._unheard:
            self._unheard.remove(node)
            self._heard_all.notify_all()

    # --- news ---------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether there are news to tell now."""
        return bool(self._wanted or self._roster.unpublished or (self._roster.changed and not self._throttle.waiting))

    @property
    def names(self) -> Collection[str]:
        """The names in the room, on all nodes."""
        return self._roster.distinct

    def others(self, member: Member[Any]) -> int | None:
        """Return how many other names are in the room; None if the member's session is, which is coming back then."""
        return None if self._roster.has(member.session) else self._roster.others(member.name)

    @property
    def in_grace(self) -> bool:
        """Whether a session of this node is in its grace period."""
        return self._roster.in_grace

    def take(self, now: float) -> PresenceNews:
        """Return the news to tell at `now` (monotonic seconds)."""
        unpublished = None
        if self._roster.unpublished:
            first, version, sessions = self._roster.take_unpublished()
            unpublished = wire.PresenceDelta(
                self._node, self._instance, first, version, dict(sessions.names), *_details(sessions)
            )
        changes = None
        if self._roster.changed and self._throttle.take(now):
            changes = Encoded(self._roster.presence_frame())
        wanted, self._wanted = self._wanted, {}
        lists = {whole: Encoded(b"".join(self._roster.members_frames(whole))) for whole in set(wanted.values())}
        return PresenceNews(unpublished, changes, {member: lists[whole] for member, whole in wanted.items()})

    def interval_elapsed(self) -> None:
        """Note that the wait between two presence frames is over."""
        self._throttle.interval_elapsed()

    def snapshot(self) -> wire.PresenceSnapshot:
        """Return all members of this node, for the other nodes."""
        own = self._roster.own()
        members = {session: name for session, name in own.names.items() if name is not None}
        return wire.PresenceSnapshot(self._node, self._instance, self._roster.version, members, *_details(own))

    def heartbeat(self) -> wire.PresenceDelta:
        """Return an empty change, which shows another node whether it missed one."""
        version = self._roster.version
        return wire.PresenceDelta(self._node, self._instance, version + 1, version)


def _sessions(header: wire.PresenceSnapshot | wire.PresenceDelta) -> Sessions:
    return Sessions(header.members, header.bots, header.accounts, header.displays)


def _details(sessions: Sessions) -> tuple[list[str], list[str], dict[str, str]]:
    return list(sessions.bots), list(sessions.accounts), dict(sessions.displays)
