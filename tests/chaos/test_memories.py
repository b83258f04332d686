"""The memories of clients: writing, reading and joining them changes nothing."""

from __future__ import annotations

from array import array

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.memories import Memories, Recollection, Tables
from parlour.chaos.records import Record, SentPost
from parlour.chaos.view import Shown, fold

ids = st.sampled_from(["s-1", "s-2"])
records = st.lists(
    st.builds(Record, st.integers(1, 9), ids, st.just("ada"), st.just(1), st.text(max_size=2), st.just("x"), st.just(2))
)


@given(st.lists(st.tuples(records, records), min_size=1, max_size=3))
def test_memories_come_back(clients: list[tuple[list[Record], list[Record]]]) -> None:
    """Each client's posts, records with times and view come back, in order, by process, room and name."""
    processes: list[bytes] = []
    for number, rooms in enumerate(clients):
        tables = Tables()
        name = f"c{number}"
        said = [SentPost(name, "hello", "edit", 7, "s-1", 1), SentPost(name, "lost", refused=True)]
        memories = [
            tables.memory(name, room, said, seen, array("d", map(float, range(len(seen)))), view)
            for room, seen, view in zip(("one", "two"), rooms, (fold(rooms[0]), None), strict=True)
        ]
        processes.append(msgspec.msgpack.encode(tables.memories(memories, returns=2, troubles=[name])))
    whole = Recollection([msgspec.msgpack.decode(process, type=Memories) for process in processes])
    assert whole.returns == 2 * len(clients)
    assert whole.troubles == [f"c{number}" for number in range(len(clients))]
    assert [post.by for post in whole.said("one")] == [f"c{number}" for number in range(len(clients)) for _ in "ab"]
    assert whole.said("one")[:2] == [SentPost("c0", "hello", "edit", 7, "s-1", 1), SentPost("c0", "lost", refused=True)]
    for number, (one, two) in enumerate(clients):
        name = f"c{number}"
        assert (whole.seen("one")[name], whole.seen("two")[name]) == (one, two)
        assert whole.shown("one")[name] == fold(one)
        assert [list(heard.times) for heard in whole.heard()[name]] == [
            list(map(float, range(len(seen)))) for seen in (one, two)
        ]
    assert (whole.seen("three"), whole.said("three"), whole.shown("two")) == ({}, [], {})


def test_tables_hold_each_thing_once() -> None:
    """The memories of a process hold each record and each view once, however many clients saw it."""
    tables = Tables()
    seen = [Record(1, "s-1", "ada", 1, "hello")]
    memories = [tables.memory(name, "lobby", [], seen, array("d", [1.0]), {1: Shown("hello")}) for name in ("c1", "c2")]
    kept = tables.memories(memories, 0, [])
    assert (kept.records, kept.views) == (seen, [{1: Shown("hello")}])
