"""The second judge: it finds what is forbidden, and agrees with the first one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.forbidden import forbidden_records
from parlour.wire.errors import UsageError
from parlour.wire.messages import Message
from parlour.wire.people import Person
from parlour.wire.records import REDACT, STATE_KINDS
from parlour.wire.rights import judge
from parlour.wire.room_state import EMPTY, fold
from parlour.wire.state_posts import (
    SETTINGS,
    StatePost,
    cluster_operator_post,
    deletion_post,
    founding_post,
    state_post,
)

NOW = 1_700_000_000_000

ADA, BOB, EVE, GUEST = Person("ada", "ada"), Person("bob", "bob"), Person("eve", "eve"), Person("guest")
ROOT = Person("root", "root", operator=True)

Said = tuple[Person, str, dict[str, Any]]
"""A post: who, of which kind, with which data of the client."""


def signed(by: Person, post: StatePost) -> dict[str, Any]:
    """Return the data of a post, with the mark of an operator of the cluster if it is one."""
    return (cluster_operator_post(*post) if by.operator else post).data


def record(offset: int, by: Person, kind: str, data: dict[str, Any], later: int = 0) -> Message:
    """Return the record of a post that was logged, rightly or not."""
    logged = signed(by, state_post(kind, "", data, NOW)) if kind in STATE_KINDS else data
    ref = data["ref"] if kind == REDACT else 0
    return Message("lobby", offset, f"{by.name}-{offset}", by.name, NOW + later, "x", kind, ref, by.account, logged)


def deletion(offset: int, by: Person, target: Message) -> Message:
    """Return the record of a deletion, as a node writes it."""
    data = {} if target.by == by.name else signed(by, deletion_post(target))
    return Message("lobby", offset, f"{by.name}-{offset}", by.name, NOW, "x", REDACT, target.offset, by.account, data)


def room(*said: Said) -> list[Message]:
    """Return the records of a room that ada founded."""
    first = Message("lobby", 1, "s-0", "ada", NOW, "x", "role", 0, "ada", founding_post(ADA).data)
    return [first, *(record(offset, *each) for offset, each in enumerate(said, 2))]


OPERATOR: Said = (ADA, "role", {"who": "bob", "role": "operator"})


@pytest.mark.parametrize(
    "said",
    [
        [(ADA, "ban", {"who": "B0B"}), (BOB, "", {})],
        [(ADA, "mute", {"who": "gu?s*"}), (GUEST, "action", {})],
        [(ADA, "mute", {"who": "bob", "for": 60}), (BOB, "edit", {})],
        [(ADA, "setting", {"name": "moderated", "value": True}), (BOB, "", {})],
        [(BOB, "topic", {})],
        [(BOB, "invite", {"who": "eve"})],
        [OPERATOR, (BOB, "kick", {"who": "ada"})],
        [OPERATOR, (BOB, "role", {"who": "eve", "role": "operator"})],
        [OPERATOR, (BOB, "role", {"who": "ada", "role": ""})],
        [(BOB, "unban", {"who": "eve"})],
        [(ADA, "", {}), (BOB, REDACT, {"ref": 2})],
        [OPERATOR, (ADA, "", {}), (BOB, REDACT, {"ref": 3})],
        [OPERATOR, (ADA, "role", {"who": "eve", "role": "operator"}), (EVE, "", {}), (BOB, REDACT, {"ref": 4})],
        [(GUEST, "", {}), OPERATOR, (ADA, "mute", {"who": "bob"}), (BOB, REDACT, {"ref": 2})],
    ],
)
def test_finds_what_is_forbidden(said: list[Said]) -> None:
    """The last record of each story is forbidden, and no other."""
    records = room(*said)
    assert [each.record for each in forbidden_records(records)] == [records[-1]]


def test_founder_of_an_old_room() -> None:
    """A room has one founder."""
    records = [*room(), Message("lobby", 2, "s-0", "bob", NOW, "x", "role", 0, "bob", founding_post(BOB).data)]
    assert [each.record for each in forbidden_records(records)] == [records[-1]]


def test_lets_the_rest_pass() -> None:
    """Pardons, ended bans, the owner, operators under patterns, and operators of the cluster."""
    records = room(
        (ADA, "ban", {"who": "bob"}),
        (ADA, "unban", {"who": "b0b"}),
        (BOB, "", {}),
        OPERATOR,
        (BOB, "mute", {"who": "*a"}),
        (BOB, "mute", {"who": "bo*"}),
        (ADA, "", {}),
        (BOB, "", {}),
        (ROOT, "kick", {"who": "ada"}),
        (BOB, REDACT, {"ref": 4}),
        (GUEST, "", {}),
        (BOB, REDACT, {"ref": 12}),
        (ADA, REDACT, {"ref": 9}),
        (ROOT, REDACT, {"ref": 8, "cluster_operator": True}),
        (ADA, "ban", {"who": "eve", "for": 60}),
    )
    records.append(record(len(records) + 1, EVE, "", {}, later=61_000))
    assert forbidden_records(records) == []


posts = st.tuples(
    st.sampled_from([ADA, BOB, EVE, GUEST, ROOT]),
    st.sampled_from([*sorted(STATE_KINDS), "", "edit", REDACT]),
    st.fixed_dictionaries(
        {
            "who": st.sampled_from(["ada", "bob", "eve", "guest", "b*", "e?e", "B0B", "*a*"]),
            "role": st.sampled_from(["", "voice", "operator", "owner"]),
            "name": st.sampled_from([*SETTINGS]),
            "value": st.sampled_from([True, False, 0, "invited", "members", "operators"]),
            "back": st.integers(1, 5),
        }
    ),
)


@given(said=st.lists(posts, max_size=40))
def test_both_judges_agree(said: list[Said]) -> None:
    """What the first lets pass is not forbidden; what it refuses is, if it were logged."""
    state = fold(EMPTY, room()[0])
    records = room()
    for by, kind, data in said:
        offset = len(records) + 1
        try:
            if kind == REDACT:
                new = deletion(offset, by, records[max(0, offset - 1 - data["back"])])
            else:
                new = record(offset, by, kind, data)
        except UsageError:
            continue
        if by.operator and not new.data.get("cluster_operator"):
            continue  # what such an operator says bears no mark
        found = [each.record for each in forbidden_records([*records, new])]
        assert found == ([new] if judge(state, by, kind, new.data, NOW) else [])
        if not found:
            records.append(new)
            state = fold(state, new)
