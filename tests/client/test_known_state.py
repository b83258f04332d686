"""The state of a room that a client knows: the same as the room's own, whenever the node's answer comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client.knownstate import KnownState, shown_settings
from parlour.wire import messages as wire
from parlour.wire.errors import ProtocolError
from parlour.wire.room_state import EMPTY, OWNER, RoomState, fold

NAMES = ["ada", "Bob", "eve"]

changes: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("topic"), st.fixed_dictionaries({"topic": st.sampled_from(["", "tea", "dice"])})),
    st.tuples(
        st.just("role"),
        st.fixed_dictionaries(
            {"who": st.sampled_from(NAMES), "role": st.sampled_from(["", "voice", "operator", OWNER])}
        ),
    ),
    st.tuples(st.just("setting"), st.fixed_dictionaries({"name": st.just("slow"), "value": st.integers(0, 9)})),
    st.tuples(st.just("ban"), st.fixed_dictionaries({"who": st.sampled_from(NAMES)})),
    st.tuples(st.just(""), st.just({})),
)
logs = st.lists(changes, max_size=25)


def record(offset: int, kind: str, data: dict[str, Any]) -> wire.Message:
    """Return a record of the room."""
    return wire.Message("lobby", offset, f"s-{offset}", "ada", offset, "x", kind, 0, "ada", data)


def answer(log: list[wire.Message]) -> dict[str, Any]:
    """Return what a node answers that knows these records."""
    state = EMPTY
    for each in log:
        state = fold(state, each) if each.kind else state
    return {
        "version": state.version,
        "owner": next((role.name for role in state.roles.values() if role.role == OWNER), ""),
        "roles": {role.name: role.role for role in state.roles.values()},
        "topic": state.topic,
        "topic_by": state.topic_by,
        "topic_at": state.topic_at,
        "settings": shown_settings(state),
        "bans": [],
    }


def told(state: RoomState | None) -> object:
    """Return what the client shows of a state."""
    assert state is not None
    return state.topic, state.owner, state.roles, state.settings


@given(made=logs, data=st.data())
def test_is_the_state_of_the_room(made: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    """Wherever the client joins, the node answers and the client joins anew, it knows what the whole log says."""
    log = [record(offset, *each) for offset, each in enumerate(made, 1)]
    joined = data.draw(st.integers(0, len(log)), "joined after")
    known = KnownState()
    known.joined("e")
    heard = joined
    for _ in range(data.draw(st.integers(1, 3), "times")):
        asked = known.joins
        upto = data.draw(st.integers(heard, len(log)), "heard before the answer")
        node = data.draw(st.integers(heard, upto), "known to the node")
        for each in log[heard:upto]:
            known.record(each, "e")
        known.answered(answer(log[:node]), asked)
        assert known.fresh
        assert told(known.state) == told(state_of(log[:upto]))
        heard = data.draw(st.integers(upto, len(log)), "heard before the next join")
        for each in log[upto:heard]:
            known.record(each, "e")
        assert told(known.state) == told(state_of(log[:heard]))
        heard = data.draw(st.integers(heard, len(log)), "missed")
        known.joined("e")
        assert not known.fresh


def state_of(log: list[wire.Message]) -> RoomState:
    """Return the state after these records."""
    state = EMPTY
    for each in log:
        state = fold(state, each) if each.kind else state
    return state


def test_answers_to_what_is_over() -> None:
    """An answer from before a join is not used, and another epoch forgets everything."""
    known = KnownState()
    known.joined("e")
    known.joined("e")
    known.answered({"topic": "old"}, 1)
    assert known.state is None
    known.answered({"topic": "tea"}, 2)
    known.record(record(7, "topic", {"topic": "of another epoch"}), "d")
    assert known.state is not None
    assert known.state.topic == "tea"
    known.joined("f")
    assert known.state is None


@pytest.mark.parametrize("data", [{"version": "x"}, {"roles": {"ada": 7}}, {"settings": {"slow": []}}, {"topic": None}])
def test_answers_that_cannot_be_read(data: dict[str, Any]) -> None:
    """They are the fault of the node; fields of later versions are none."""
    known = KnownState()
    known.joined("e")
    with pytest.raises(ProtocolError):
        known.answered(data, 1)
    known.answered({"mood": "calm", "settings": {"mood": "calm", "slow": 3}}, 1)
    assert known.state is not None
    assert known.state.settings.slow == 3
