"""Skeletons: names that look alike are one name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.skeleton import skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("ada", "ADA", id="case"),
        pytest.param("ada", "\u0430da", id="Cyrillic a"),
        pytest.param("ada", "\uff41\uff44\uff41", id="full width"),
        pytest.param("paypal", "paypa1", id="1 and l"),
        pytest.param("lan", "Ian", id="I and l"),
        pytest.param("b0b", "bob", id="0 and o"),
        pytest.param("karn", "kam", id="rn and m"),
        pytest.param("ada", "\U0001d41a\U0001d41d\U0001d41a", id="mathematical"),
        pytest.param("ada", "\u0430d\u0430", id="two of them"),
        pytest.param("\u039f\u039f", "oo", id="Greek"),
        pytest.param("Straße", "STRASSE", id="sharp s"),
        pytest.param("zoë", "zoe\u0308", id="composed"),
    ],
)
def test_look_alikes(one: str, other: str) -> None:
    """They have one skeleton."""
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"), [("ada", "adam"), ("zoe", "zoë"), ("tom", "tim"), ("山", "川"), ("ada", "ada2")]
)
def test_different_names(one: str, other: str) -> None:
    """Names that do not look alike have different ones; accents count."""
    assert skeleton(one) != skeleton(other)


@given(name=st.text(max_size=64))
def test_skeleton_of_a_skeleton(name: str) -> None:
    """A second pass changes nothing, and case never counts."""
    once = skeleton(name)
    assert skeleton(once) == once


@given(name=st.text(st.characters(codec="ascii"), max_size=64))
def test_plain_names_need_no_table(name: str) -> None:
    """The short way for ASCII gives the same as the long one."""
    assert skeleton(name) == skeleton(name + "\u0430")[:-1]
