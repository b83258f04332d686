"""A second judge of rooms: it reads a room's records alone, and tells which of them another one forbids.

It is written from docs/protocol.md and docs/moderation.md, and uses neither `fold` nor `judge`, so that a fault in
those cannot hide itself. It must be given a room's records from the first one on.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import NamedTuple

from parlour.wire.messages import Message
from parlour.wire.records import session_of_id
from parlour.wire.skeleton import skeleton

__all__ = ["Forbidden", "forbidden_records"]

RANKS = {"": 0, "voice": 1, "operator": 2, "owner": 3}

ABOVE_OWNER = 4
"""The rank of an operator of the cluster."""

SLACK = 15_000
"""Ms before its end from which a ban is not held against a record: a post bears the time at which it came to its node,
and may have waited for its place in the log."""

LIFTS = {"unban": "ban", "unmute": "mute"}


class Forbidden(NamedTuple):
    """A record that should not be in the log, and why."""

    record: Message
    why: str


class _Room:
    """What the records so far say. Addresses are not in the log, so bans of networks hit nobody here."""

    def __init__(self) -> None:
        self.ranks: dict[str, int] = {}
        self.sanctions: dict[tuple[str, str], int] = {}
        """When each ban or mute ends, by its kind and mask."""
        self.settings: dict[str, object] = {}
        self.authors: dict[int, tuple[str, str]] = {}
        """The session and the account of each record, by offset."""

    def fault(self, record: Message) -> str:
        """Return what forbids a record; "" if nothing does."""
        data = record.data
        if data.get("founding"):
            return "the room had an owner or a state" if self.ranks or self.sanctions or self.settings else ""
        rank = self.ranks.get(skeleton(record.account), 0) if record.account else 0
        if data.get("cluster_operator"):
            rank = ABOVE_OWNER
        return self._silence(record, rank) or self._missing_right(record, rank)

    def _silence(self, record: Message, rank: int) -> str:
        if rank >= RANKS["owner"]:
            return ""
        names = {skeleton(name) for name in (record.by, record.account) if name}
        for (kind, mask), until in self.sanctions.items():
            ended = 0 < until - SLACK <= record.at
            exact = mask in names
            pattern = rank < RANKS["operator"] and any(_matches(mask, name) for name in names)
            if not ended and (exact or pattern):
                return f"a {kind} of {mask}"
        if self.settings.get("moderated") and rank < RANKS["voice"]:
            return "the room is moderated"
        return ""

    def _missing_right(self, record: Message, rank: int) -> str:
        owned = RANKS["owner"] in self.ranks.values()
        needed = RANKS["operator"]
        match record.kind:
            case "topic":
                needed = 0 if not owned or self.settings.get("topic") == "members" else needed
            case "invite":
                needed = 0 if owned and self.settings.get("invite") == "members" else needed
            case "role":
                needed = self._rank_for_role(record)
            case "ban" | "mute" | "kick":
                needed = max(needed, self.ranks.get(_who(record), 0) + 1)
            case "unban" | "unmute" | "setting":
                pass
            case "redact":
                needed = self._rank_for_deletion(record)
            case _:
                needed = 0
        return f"a {record.kind} needs a higher role" if rank < needed else ""

    def _rank_for_role(self, record: Message) -> int:
        who, new = _who(record), RANKS[record.data["role"]]
        held = self.ranks.get(who, 0)
        if held == RANKS["owner"] != new:
            return ABOVE_OWNER + 1  # nobody takes the role from the owner but by passing it on
        if held == RANKS["owner"]:
            return 0 if who == skeleton(record.account) else held + 1
        if record.account and who == skeleton(record.account) and new < held:
            return 0
        return RANKS["operator"] if max(held, new) <= RANKS["voice"] else RANKS["owner"]

    def _rank_for_deletion(self, record: Message) -> int:
        session, account = self.authors.get(record.ref, ("", ""))
        if session == session_of_id(record.id) or (account and account == record.account):
            return 0
        return max(RANKS["operator"], self.ranks.get(skeleton(account), 0) + 1 if account else 0)

    def note(self, record: Message) -> None:
        """Remember who made a record, which another one may delete."""
        self.authors[record.offset] = session_of_id(record.id), record.account

    def take(self, record: Message) -> None:
        """Let a record count for those behind it."""
        who = _who(record)
        match record.kind:
            case "ban" | "mute":
                self.sanctions[record.kind, who] = record.data.get("until", 0)
            case "unban" | "unmute":
                self.sanctions.pop((LIFTS[record.kind], who), None)
            case "setting":
                self.settings[record.data["name"]] = record.data["value"]
            case "role":
                self._give(who, RANKS[record.data["role"]])

    def _give(self, who: str, rank: int) -> None:
        if rank == RANKS["owner"]:
            for former in [name for name, held in self.ranks.items() if held == rank]:
                self.ranks[former] = RANKS["operator"]
        self.ranks[who] = rank


def forbidden_records(records: Iterable[Message]) -> list[Forbidden]:
    """Return the records that stand behind one that forbids them, in their order."""
    room, found = _Room(), list[Forbidden]()
    for record in records:
        room.note(record)
        if why := room.fault(record):
            found.append(Forbidden(record, why))
        else:
            room.take(record)
    return found


def _who(record: Message) -> str:
    return skeleton(str(record.data.get("who", "")))


def _matches(mask: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, mask.replace("[", "[[]"))
