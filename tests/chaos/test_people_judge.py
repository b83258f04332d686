"""The judge of people with accounts finds what rights forbid, and what a stranger sees."""

from __future__ import annotations

from typing import Any

import pytest

from parlour.chaos.people_judge import PeopleVerdict, judge_people
from parlour.chaos.people_process import Conversation, Court, PeopleMemories, difference
from parlour.chaos.records import Record, SentPost
from parlour.wire.messages import Message


def record(offset: int, by: str, text: str, kind: str = "", **data: Any) -> Message:
    """Return a record of somebody with an account."""
    return Message("court", offset, f"{by}-{offset}", by, 1_700_000_000_000 + offset, text, kind, 0, by, data)


FOUNDED = record(1, "p1", "owns this room", "role", who="p1", role="owner", founding=True)


def verdict(
    *log: Message,
    said: tuple[SentPost, ...] = (),
    trespasses: tuple[str, ...] = (),
    denied: tuple[str, ...] = (),
    differing: tuple[str, ...] = (),
) -> PeopleVerdict:
    """Judge a room with this log behind its founding, and one private conversation in which all went well."""
    aside = Record(1, "p1-1", "p1", 1, "p1 1: psst")
    talk = Conversation("p1 and p2", [SentPost("p1", aside.text, "", 0, "p1-1", 1)], {"p1": [aside]}, [aside])
    return judge_people(
        PeopleMemories(2, Court([*said], [FOUNDED, *log], [*denied], [*differing]), [talk], [*trespasses], [])
    )


def test_a_room_in_which_rights_held() -> None:
    """Who is muted is refused, and speaks again after the pardon; a refusal is no fault, even of what was logged."""
    said = (
        SentPost("p2", "one", "", 0, "p2-2", 2),
        SentPost("p2", "two", refused=True),
        SentPost("p2", "three", "", 0, "p2-5", 5),
    )
    log = (
        record(2, "p2", "one"),
        record(3, "p1", "muted p2", "mute", who="p2", until=0),
        record(4, "p1", "let p2 speak", "unmute", who="p2"),
        record(5, "p2", "three"),
    )
    found = verdict(*log, said=said)
    assert set(found.faults.values()) == {0}
    assert (found.said, found.acknowledged, found.refused, found.changes) == (3, 2, 1, 3)
    assert [talk.faults["lost"] for talk in found.conversations] == [0]
    assert found.examples == ()


@pytest.mark.parametrize(
    ("fault", "log", "said", "trespasses"),
    [
        ("forbidden", (record(2, "p1", "", "ban", who="p2", until=0), record(3, "p2", "still here")), (), ()),
        ("forbidden", (record(2, "p2", "", "kick", who="p1"),), (), ()),
        ("overheard", (), (), ("spy came in",)),
        ("duplicated", (record(2, "p1", "one"), record(3, "p1", "one")), (), ()),
        ("unlogged", (), (SentPost("p2", "one", "", 0, "p2-2", 2),), ()),
        ("unlogged", (record(2, "p1", "two"),), (SentPost("p2", "one", "", 0, "p2-2", 2),), ()),
        ("unanswered", (), (SentPost("p2", "one"),), ()),
    ],
)
def test_each_fault_is_found(
    fault: str, log: tuple[Message, ...], said: tuple[SentPost, ...], trespasses: tuple[str, ...]
) -> None:
    """It is counted once, and told in words."""
    found = verdict(*log, said=said, trespasses=trespasses)
    assert found.faults == {**dict.fromkeys(found.faults, 0), fault: 1}
    assert found.examples[0].startswith(f"{fault}: ")


def test_denied_post_is_not_logged() -> None:
    """A post that is logged although its sender was told otherwise is a fault, and so is a view that differs."""
    found = verdict(record(2, "p2", "one"), denied=("one", "two"), differing=("p1 saw nothing",))
    assert {name for name, count in found.faults.items() if count} == {"denied", "differing"}
    assert (found.denied, found.differing) == (1, 1)


@pytest.mark.parametrize(
    ("view", "whole", "found"),
    [
        ([2, 3, 4], True, ""),
        ([3, 4], True, ""),
        ([2, 3], False, ""),
        ([], False, ""),
        ([2, 3], True, "nothing of 1 records from"),
        ([2, 4], False, "but the log has"),
        ([3, 2], False, "but the log has"),
        ([3, 3], False, "but the log has"),
        ([2, 3, 4, 5], False, "not in the log"),
    ],
)
def test_views_of_the_room(view: list[int], whole: bool, found: str) -> None:
    """Each begins somewhere and misses nothing from there on; who was shown out may lack the end."""
    log = [Record(offset, f"s-{offset}", "p1", 1, str(offset)) for offset in (2, 3, 4, 5)]
    told = difference([log[offset - 2] for offset in view], log[:3], whole)
    assert found in told
    assert bool(found) == bool(told)
