"""The record of what clients remember: nothing is changed by writing it down and putting several together."""

from __future__ import annotations

from array import array

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.memories import Memories, Recollection, memory
from parlour.chaos.records import Post, Record

lines = st.lists(
    st.builds(
        Record, st.integers(1, 9), st.sampled_from(["s-1", "s-2"]), st.just("ada"), st.just(1), st.text(max_size=2)
    )
)


@given(st.lists(st.tuples(lines, lines), min_size=1, max_size=3))
def test_what_is_recalled_is_what_was_seen(clients: list[tuple[list[Record], list[Record]]]) -> None:
    """Each client's lines come back in its order with their times, by process, room and name."""
    records: list[bytes] = []
    for number, rooms in enumerate(clients):
        places: dict[Record, int] = {}
        name, said = f"c{number}", [Post(f"c{number}", "hello", "s-1", 1), Post(f"c{number}", "lost")]
        memories = [
            memory(name, room, said, seen, array("d", map(float, range(len(seen)))), places)
            for room, seen in zip(("one", "two"), rooms, strict=True)
        ]
        records.append(msgspec.msgpack.encode(Memories(list(places), memories, returns=2, troubles=[name])))
    whole = Recollection([msgspec.msgpack.decode(record, type=Memories) for record in records])
    assert whole.returns == 2 * len(clients)
    assert whole.troubles == [f"c{number}" for number in range(len(clients))]
    assert [post.by for post in whole.said("one")] == [f"c{number}" for number in range(len(clients)) for _ in "ab"]
    assert whole.said("one")[1] == Post("c0", "lost")
    for number, (one, two) in enumerate(clients):
        name = f"c{number}"
        assert (whole.seen("one")[name], whole.seen("two")[name]) == (one, two)
        assert [list(heard.times) for heard in whole.heard()[name]] == [
            list(map(float, range(len(seen)))) for seen in (one, two)
        ]
    assert whole.seen("three") == {}
    assert whole.said("three") == []
