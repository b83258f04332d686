"""Marks: each text is found by its own mark."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.marks import mark_of, marked, marks_in

numbers = st.integers(1, 2000)


@given(st.lists(st.tuples(numbers, numbers), unique=True), st.binary(max_size=4))
def test_marks_are_found(said: list[tuple[int, int]], between: bytes) -> None:
    """In any bytes, the marks of all texts in them are found, and no others."""
    texts = [marked(f"c{client}", number, ["ünd"]) for client, number in said]
    assert marks_in(between.join(text.encode() for text in texts)) == {mark_of(text) for text in texts}
    assert len({mark_of(text) for text in texts}) == len(texts)


def test_reactions_have_no_mark() -> None:
    """Many clients give the same reaction."""
    assert mark_of("👍") is None
