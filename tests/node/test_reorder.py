"""The buffer of a room, whatever comes late, early, twice or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.rooms.batch import Batch
from parlour.node.rooms.reorder import HELD, ReorderBuffer
from parlour.node.rooms.ring import Ring


def make(first: int, last: int) -> Batch:
    """Return a batch whose frames are the offsets themselves, as four-byte bodies."""
    return Batch(first, last, b"".join(b"\0\0\0\4" + offset.to_bytes(4, "big") for offset in range(first, last + 1)))


def offsets(batch: Batch) -> list[int]:
    """Return the offsets in a batch's frames, which must be those it claims."""
    data = bytes(batch.frames)
    found = [int.from_bytes(data[i + 4 : i + 8], "big") for i in range(0, len(data), 8)]
    assert found == list(range(batch.first, batch.last + 1))
    return found


spans = st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: make(pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=40), st.integers(0, 5))
def test_whatever_comes_leaves_by_offset_once_and_without_a_hole(batches: list[Batch], start: int) -> None:
    """Batches in any buffer, overlapping and repeated, come out as the unbroken run of what was there."""
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
def test_the_hole_is_what_is_missing_before_what_is_known(batches: list[Batch]) -> None:
    """A hole begins after the last offset let out and ends before the next batch that is held."""
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


def test_a_top_that_is_told_shows_the_loss_of_the_last_batch() -> None:
    """Nothing came after the lost batch, but somebody told of its offset."""
    buffer = ReorderBuffer(7)
    buffer.hint(9)
    assert buffer.hole() == (8, 9)
    assert [offsets(batch) for batch in buffer.offer(make(8, 9))] == [[8, 9]]
    assert buffer.hole() is None


def test_early_batches_are_kept_within_a_bound() -> None:
    """What does not fit is forgotten, but known to be missing."""
    buffer = ReorderBuffer(0)
    for offset in range(2, 2 + HELD + 10):
        buffer.offer(make(offset, offset))
    out = buffer.offer(make(1, 1))
    assert sum(len(offsets(batch)) for batch in out) == HELD + 1
    assert buffer.hole() == (HELD + 2, HELD + 11)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(0, 100), st.integers(1, 200))
def test_the_ring_returns_what_follows_an_offset_or_nothing(lengths: list[int], offset: int, size: int) -> None:
    """What the ring returns begins right after the offset; it returns nothing only if that is not in it."""
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


def test_the_ring_keeps_to_its_size_and_always_the_last_batch() -> None:
    """A batch larger than the ring is kept as long as it is the last."""
    ring = Ring(10, 0)
    ring.add(make(1, 5))
    assert [(batch.first, batch.last) for batch in ring.after(0, 1000) or ()] == [(1, 5)]
    ring.add(make(6, 6))
    assert ring.after(0, 1000) is None
    assert [(batch.first, batch.last) for batch in ring.after(5, 1000) or ()] == [(6, 6)]
