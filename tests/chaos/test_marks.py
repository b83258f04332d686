"""Marks: every text is found by its own, and by no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.marks import mark_of, marked, marks_in

numbers = st.integers(1, 2000)


@given(st.lists(st.tuples(numbers, numbers), unique=True), st.binary(max_size=4))
def test_texts_are_found_by_their_marks(said: list[tuple[int, int]], between: bytes) -> None:
    """In any bytes, the marks of the texts that are there are found, and no others."""
    texts = [marked(f"c{client}", number, ["ünd"]) for client, number in said]
    assert marks_in(between.join(text.encode() for text in texts)) == {mark_of(text) for text in texts}
    assert len({mark_of(text) for text in texts}) == len(texts)


def test_what_has_no_mark_is_not_found() -> None:
    """A reaction, which many give, has none."""
    assert mark_of("👍") is None
