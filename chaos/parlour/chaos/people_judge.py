"""The judge of people with accounts: whether rights held in their room, and whether private talk stayed private.

This module owns the rules; it is pure. What `forbidden` finds it finds in the log alone. It must never take a refusal
for a loss: who is banned is told so, and who is shown out has no answer to what was on its way. A post that was logged
may even be refused, if its sender was banned before it could send it again after a lost connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parlour.chaos.forbidden import forbidden_records
from parlour.chaos.judge import Evidence, RoomVerdict, judge
from parlour.chaos.people_process import Court, PeopleMemories
from parlour.wire.records import STATE_KINDS

__all__ = ["RIGHTS_FAULTS", "PeopleVerdict", "judge_people"]

RIGHTS_FAULTS = ("forbidden", "overheard", "denied", "differing", "duplicated", "unlogged", "unanswered")
"""The kinds of faults."""


@dataclass(frozen=True)
class PeopleVerdict:
    """The verdict on people with accounts."""

    accounts: int
    said: int
    """Posts in the room with rights."""
    acknowledged: int
    refused: int
    """Posts in this room that the node refused, as the sender had no right to post. No fault."""
    changes: int
    """Changes of the room's state in its log: bans, pardons, roles and so on."""
    forbidden: int
    """Records in the log that stand behind one that forbids them."""
    overheard: int
    """Frames of private conversations that a guest received, and names of accounts that a guest could take."""
    denied: int
    """Posts in the log of which their senders were told for certain that they are not there."""
    differing: int
    """People who saw the room differently from its log."""
    duplicated: int
    """Posts that the log holds twice."""
    unlogged: int
    """Acknowledged posts that are not in the log at the acknowledged offset."""
    unanswered: int
    """Posts that were neither acknowledged nor refused in time."""
    conversations: tuple[RoomVerdict, ...]
    """The private conversations, which are judged like every other room."""
    examples: tuple[str, ...]
    """Some faults of each kind, in words."""

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0, without those of the conversations."""
        return {name: getattr(self, name) for name in RIGHTS_FAULTS}


def judge_people(memories: PeopleMemories) -> PeopleVerdict:
    """Judge what the people remember."""
    court = memories.court
    forbidden = [f"{each.record} stands behind {each.why}" for each in forbidden_records(court.log)]
    found = {"forbidden": forbidden, "overheard": memories.trespasses, "differing": court.differing, **_in_log(court)}
    return PeopleVerdict(
        accounts=memories.accounts,
        said=len(court.said),
        acknowledged=sum(post.id is not None for post in court.said),
        refused=sum(post.refused for post in court.said),
        changes=sum(record.kind in STATE_KINDS for record in court.log),
        conversations=tuple(
            judge(Evidence(each.name, each.said, each.log, each.seen, {}, {}, ())) for each in memories.conversations
        ),
        examples=tuple(f"{name}: {line}" for name, lines in found.items() for line in lines[:2]),
        **{name: len(lines) for name, lines in found.items()},
    )


def _in_log(court: Court) -> dict[str, Sequence[str]]:
    """Return the posts that were logged twice, or not where that was acknowledged, and those without an answer."""
    places = {record.offset: record for record in court.log}
    texts: dict[str, int] = {}
    duplicated = []
    for record in court.log:
        if record.kind not in STATE_KINDS and texts.setdefault(record.text, record.offset) != record.offset:
            duplicated.append(f"{record} is also at {texts[record.text]}")
    return {
        "denied": [f"{text!r} is logged at {texts[text]}, but was refused" for text in court.denied if text in texts],
        "duplicated": duplicated,
        "unlogged": [
            f"{post}, but there is {places.get(post.offset)}"
            for post in court.said
            if post.offset is not None and (post.offset not in places or places[post.offset].id != post.id)
        ],
        "unanswered": [str(post) for post in court.said if post.offset is None and not post.refused],
    }
