"""Whether a text names a person: the rule for unread counts, and for what stands out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.mentions import find_mention


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada", "ada"),
        ("hello, Ada!", "Ada"),
        ("@ada: tea?", "ada"),
        ("so says ada l.", "ada l."),
        ("ada lived", "ada"),
        ("adagio, Canada", None),
        ("ada_ and ada2", None),
        ("", None),
    ],
)
def test_a_name_is_a_word(text: str, found: str | None) -> None:
    """Name and display name count, in any case, the longer one first; parts of words do not."""
    mention = find_mention(text, ("ada", "Ada L."))
    assert (mention[0] if mention is not None else None) == found


def test_no_name_is_in_no_text() -> None:
    """An empty display name is nowhere."""
    assert find_mention("anything", ("", "")) is None
    assert find_mention("anything", ()) is None


@given(text=st.text(), names=st.lists(st.text(max_size=70), max_size=2))
def test_any_name_is_taken_literally(text: str, names: list[str]) -> None:
    """Signs in names mean themselves: what is found is one of the names."""
    mention = find_mention(text, names)
    assert mention is None or mention[0].lower() in {name.lower() for name in names} or not mention[0].isascii()
