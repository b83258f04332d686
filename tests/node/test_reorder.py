"""The order of a room's batches, which come late, early, twice or not at all; and the ring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.rooms.batch import Batch
from parlour.node.rooms.reorder import HELD, ReorderBuffer
from parlour.node.rooms.ring import Ring


def make(first: int, last: int) -> Batch:
    """Return a batch whose frames are its offsets, as four-byte bodies."""
    return Batch(first, last, b"".join(b"\0\0\0\4" + offset.to_bytes(4, "big") for offset in range(first, last + 1)))


def offsets(batch: Batch) -> list[int]:
    """Return the offsets in a batch's frames; check that they match the batch's bounds."""
    data = bytes(batch.frames)
    found = [int.from_bytes(data[i + 4 : i + 8], "big") for i in range(0, len(data), 8)]
    assert found == list(range(batch.first, batch.last + 1))
    return found


spans = st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: make(pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=40), st.integers(0, 5))
def test_batches_leave_in_order_once(batches: list[Batch], start: int) -> None:
    """Batches in any order, overlapping and repeated, come out as one run of offsets without a hole."""
    buffer = ReorderBuffer(start)
    out: list[int] = []
    for batch in batches:
        for ripe in buffer.offer(batch):
            out += offsets(ripe)
    there = {offset for batch in batches for offset in range(batch.first, batch.last + 1)}
    expected: list[int] = []
    while start + 1 + len(expected) in there:
        expected.append(start + 1 + len(expected))
    assert out == expected
    assert buffer.offset == start + len(expected)


@given(st.lists(spans, max_size=40))
def test_hole_lies_before_known_messages(batches: list[Batch]) -> None:
    """A hole begins after the last released offset and ends before the next held batch."""
    buffer = ReorderBuffer(0)
    for batch in batches:
        buffer.offer(batch)
    hole = buffer.hole()
    known = max((batch.last for batch in batches), default=0)
    if known <= buffer.offset:
        assert hole is None
    else:
        assert hole is not None
        assert hole[0] == buffer.offset + 1
        assert not any(
            batch.first <= offset <= batch.last for batch in batches for offset in range(hole[0], hole[1] + 1)
        )
        assert any(batch.first == hole[1] + 1 for batch in batches)


def test_hint_reveals_a_lost_last_batch() -> None:
    """No batch came after the lost one, but a hint told its offset."""
    buffer = ReorderBuffer(7)
    buffer.hint(9)
    assert buffer.hole() == (8, 9)
    assert [offsets(batch) for batch in buffer.offer(make(8, 9))] == [[8, 9]]
    assert buffer.hole() is None


def test_early_batches_are_bounded() -> None:
    """Batches above the bound are dropped, but count as missing."""
    buffer = ReorderBuffer(0)
    for offset in range(2, 2 + HELD + 10):
        buffer.offer(make(offset, offset))
    out = buffer.offer(make(1, 1))
    assert sum(len(offsets(batch)) for batch in out) == HELD + 1
    assert buffer.hole() == (HELD + 2, HELD + 11)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(0, 100), st.integers(1, 200))
def test_ring_returns_what_follows_an_offset(lengths: list[int], offset: int, size: int) -> None:
    """The ring returns the messages right after an offset, or nothing if they are not in the ring."""
    ring = Ring(120, 10)
    last = 10
    for length in lengths:
        ring.add(make(last + 1, last + length))
        last += length
    found = ring.after(offset, size)
    if found is None:
        assert offset < last - 10 or offset >= last or offset < 10
    else:
        assert next(number for batch in found for number in offsets(batch) if number > offset) == offset + 1
        assert found[-1].last <= last


def test_ring_keeps_its_size_and_the_last_batch() -> None:
    """The ring keeps a batch that is larger than itself as long as it is the last one."""
    ring = Ring(10, 0)
    ring.add(make(1, 5))
    assert [(batch.first, batch.last) for batch in ring.after(0, 1000) or ()] == [(1, 5)]
    ring.add(make(6, 6))
    assert ring.after(0, 1000) is None
    assert [(batch.first, batch.last) for batch in ring.after(5, 1000) or ()] == [(6, 6)]
