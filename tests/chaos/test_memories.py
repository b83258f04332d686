"""What clients remember: nothing is changed by writing it down and putting several processes together."""

from __future__ import annotations

from array import array

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.memories import Memories, Recollection, Tables
from parlour.chaos.records import Post, Record
from parlour.chaos.view import Shown, fold

ids = st.sampled_from(["s-1", "s-2"])
records = st.lists(
    st.builds(Record, st.integers(1, 9), ids, st.just("ada"), st.just(1), st.text(max_size=2), st.just("x"), st.just(2))
)


@given(st.lists(st.tuples(records, records), min_size=1, max_size=3))
def test_what_is_recalled_is_what_was_seen(clients: list[tuple[list[Record], list[Record]]]) -> None:
    """Each client's records come back in their order with their times, by process, room and name, and its view."""
    processes: list[bytes] = []
    for number, rooms in enumerate(clients):
        tables = Tables()
        name = f"c{number}"
        said = [Post(name, "hello", "edit", 7, "s-1", 1), Post(name, "lost", refused=True)]
        memories = [
            tables.memory(name, room, said, seen, array("d", map(float, range(len(seen)))), view)
            for room, seen, view in zip(("one", "two"), rooms, (fold(rooms[0]), None), strict=True)
        ]
        processes.append(msgspec.msgpack.encode(tables.memories(memories, returns=2, troubles=[name])))
    whole = Recollection([msgspec.msgpack.decode(process, type=Memories) for process in processes])
    assert whole.returns == 2 * len(clients)
    assert whole.troubles == [f"c{number}" for number in range(len(clients))]
    assert [post.by for post in whole.said("one")] == [f"c{number}" for number in range(len(clients)) for _ in "ab"]
    assert whole.said("one")[:2] == [Post("c0", "hello", "edit", 7, "s-1", 1), Post("c0", "lost", refused=True)]
    for number, (one, two) in enumerate(clients):
        name = f"c{number}"
        assert (whole.seen("one")[name], whole.seen("two")[name]) == (one, two)
        assert whole.shown("one")[name] == fold(one)
        assert [list(heard.times) for heard in whole.heard()[name]] == [
            list(map(float, range(len(seen)))) for seen in (one, two)
        ]
    assert (whole.seen("three"), whole.said("three"), whole.shown("two")) == ({}, [], {})


def test_what_many_saw_is_kept_once() -> None:
    """The memories of a process hold each record and each view once, however many clients saw it."""
    tables = Tables()
    seen = [Record(1, "s-1", "ada", 1, "hello")]
    memories = [tables.memory(name, "lobby", [], seen, array("d", [1.0]), {1: Shown("hello")}) for name in ("c1", "c2")]
    kept = tables.memories(memories, 0, [])
    assert (kept.records, kept.views) == (seen, [{1: Shown("hello")}])
