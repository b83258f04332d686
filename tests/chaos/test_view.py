"""The folded view of a room: it is the same for clients that saw records before and after their deletion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.records import Record
from parlour.chaos.view import Shown, deleted, fold
from support.scenes import conversations, without_deleted

LIKED = ("react", 1, "👍")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        pytest.param([], Shown("one"), id="as it was said"),
        pytest.param([("edit", 1, "two"), ("edit", 1, "three")], Shown("three", True), id="the last edit counts"),
        pytest.param([("edit", 1, "two"), ("redact", 2, "")], Shown("one"), id="an edit is taken back"),
        pytest.param([LIKED, LIKED], Shown("one", reactions={("ada", "👍")}), id="a reaction counts once"),
        pytest.param([LIKED, ("redact", 2, "")], Shown("one"), id="a reaction is taken back"),
        pytest.param(
            [("edit", 1, "two"), ("redact", 1, ""), LIKED, ("edit", 1, "x")], Shown(""), id="deleted for good"
        ),
    ],
)
def test_rules_of_folding(changes: list[tuple[str, int, str]], shown: Shown) -> None:
    """The rules of the protocol's page, one by one."""
    assert fold(records(("", 0, "one"), *changes))[1] == shown


def records(*said: tuple[str, int, str]) -> list[Record]:
    """Return records of these kinds, references and texts."""
    return [
        Record(offset, f"s-{offset}", "ada", 1, text, kind, ref) for offset, (kind, ref, text) in enumerate(said, 1)
    ]


def test_deletion_includes_edits() -> None:
    """A deletion also deletes the edits before it, and nothing else."""
    edits = [("edit", 1, "two"), ("edit", 1, "three")]
    assert deleted(records(("", 0, "one"), *edits, LIKED, ("redact", 1, ""), ("edit", 1, "late"))) == {1, 2, 3}


@given(conversations(), st.data())
def test_view_is_the_same_for_all(said: list[Record], data: st.DataObject) -> None:
    """Each record may have been seen as it was posted, or as what is left of it."""
    seen = [data.draw(st.sampled_from(pair)) for pair in zip(said, without_deleted(said), strict=True)]
    assert fold(seen) == fold(said)
