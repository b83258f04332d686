"""Who is in a room, as its members and the other nodes are told: the list of names, and its changes now and then.

This module owns a room's roster and when news of it are due. The room's mutex guards its instances: every method but
`wait` is called with it held, and none sends anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from parlour.node.rooms.batch import Encoded
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.member import Member
from parlour.node.rooms.roster import Roster
from parlour.node.rooms.throttle import Throttle
from parlour.wire import relay as wire

__all__ = ["Presence", "PresenceNews"]


class PresenceNews(NamedTuple):
    """What is to be sent now."""

    unpublished: wire.Whereabouts | None
    """For the other nodes."""
    changes: Encoded | None
    """For all members, a `presence` frame."""
    lists: dict[Member[Any], Encoded]
    """For members who asked, `members` frames."""


class Presence:
    """The presence of one room."""

    def __init__(self, room: str, context: RoomContext, mutex: threading.Lock, due: Callable[[], object]) -> None:
        """Call `due` when changes that waited may be told."""
        # A room that is made again after it was empty must not count its changes from the same start.
        self._roster = Roster(room, time.monotonic_ns() // 1000)
        self._node, self._instance = context.node, context.instance
        self._throttle = Throttle(context.scheduler, context.settings.presence_interval, due)
        self._wanted: dict[Member[Any], bool] = {}
        self._unheard: set[str] = set()
        self._heard_all = threading.Condition(mutex)

    # --- this node's members ------------------------------------------------------------------------------------

    def enter(self, member: Member[Any]) -> None:
        """Show a member, unless it is an observer."""
        if not member.observer:
            self._roster.enter(member.session, member.name, member.bot)

    def leave(self, member: Member[Any], grace: float | None) -> None:
        """Take a member off; with `grace`, its session is missed, and leaves so many seconds later."""
        self._wanted.pop(member, None)
        if grace is not None:
            self._roster.miss(member.session, time.monotonic() + grace)

    def give_up(self) -> None:
        """Take off the sessions whose grace is over."""
        self._roster.give_up(time.monotonic())

    def want(self, member: Member[Any], whole: bool) -> None:
        """Have the list of names sent to a member; at most 200 of them unless `whole`."""
        self._wanted[member] = whole or self._wanted.get(member, False)

    # --- the other nodes' members -------------------------------------------------------------------------------

    def replace(self, head: wire.Here) -> None:
        """Take over all members of another node."""
        self._roster.replace(head.node, head.instance, head.version, head.members, head.bots)
        self._heard(head.node)

    def change(self, head: wire.Whereabouts) -> bool:
        """Take over changes among the members of another node; return False if some before them were missed."""
        return self._roster.change(head.node, head.instance, head.first, head.version, head.members, head.bots)

    def forget(self, node: str, instance: str) -> None:
        """Take off the members of a node that is gone."""
        self._roster.forget(node, instance)
        self._heard(node)

    def wait(self, peers: set[str], timeout: float) -> None:
        """Wait until each of these nodes has told its members, at most `timeout` seconds. The mutex is held."""
        self._unheard = peers - self._roster.nodes
        self._heard_all.wait_for(lambda: not self._unheard, timeout)
        self._unheard.clear()

    def _heard(self, node: str) -> None:
        if node in self._unheard:
            self._unheard.remove(node)
            self._heard_all.notify_all()

    # --- what is told -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether there is something to tell now."""
        return bool(self._wanted or self._roster.unpublished or (self._roster.changed and not self._throttle.waiting))

    @property
    def missing(self) -> bool:
        """Whether a member of this node may yet come back."""
        return self._roster.missing

    def take(self, now: float) -> PresenceNews:
        """Return what is to be told now (monotonic seconds)."""
        unpublished = None
        if self._roster.unpublished:
            unpublished = wire.Whereabouts(self._node, self._instance, *self._roster.take_unpublished())
        changes = None
        if self._roster.changed and self._throttle.take(now):
            changes = Encoded(self._roster.presence_frame())
        wanted, self._wanted = self._wanted, {}
        lists = {whole: Encoded(b"".join(self._roster.members_frames(whole))) for whole in set(wanted.values())}
        return PresenceNews(unpublished, changes, {member: lists[whole] for member, whole in wanted.items()})

    def come(self) -> None:
        """Note that the time has come that changes waited for."""
        self._throttle.come()

    def here(self) -> wire.Here:
        """Return all members of this node, for another node."""
        return wire.Here(self._node, self._instance, self._roster.version, *self._roster.own())

    def heartbeat(self) -> wire.Whereabouts:
        """Return an empty change, by which another node sees whether it missed one."""
        version = self._roster.version
        return wire.Whereabouts(self._node, self._instance, version + 1, version)
