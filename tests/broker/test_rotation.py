from __future__ import annotations

import weakref
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.broker.rotation import Rotation

Key = tuple[float, int, str]

keys = st.tuples(st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 3), st.sampled_from(["n1", "n2", "n3"]))


@given(st.lists(keys, unique=True), st.data())
def test_order_is_kept(added: list[Key], data: st.DataObject) -> None:
    """After any additions and removals the rest comes in ascending order."""
    rotation: Rotation[Key] = Rotation()
    for key in added:
        rotation.add(key)
    removed = data.draw(st.lists(st.sampled_from(added), unique=True)) if added else []
    for key in removed:
        rotation.remove(key)
    assert list(rotation) == sorted(set(added) - set(removed))
    assert len(rotation) == len(added) - len(removed)


def test_the_first_moves_often() -> None:
    """If the first key moves again and again, even to the front, the order is kept."""
    rotation: Rotation[Key] = Rotation()
    kept: list[Key] = []
    for number in range(30):
        kept.append((float(number), 0, f"n{number}"))
        rotation.add(kept[-1])
    for turn in range(1, 1000):
        first = kept.pop(0)
        assert rotation.first(1) == [first]
        rotation.remove(first)
        kept.append((first[0] + turn % 37 - 2, turn, first[2]))
        rotation.add(kept[-1])
        kept.sort()
        assert rotation.first(5) == kept[:5]
        assert (list(rotation), len(rotation)) == (kept, len(kept))
        with pytest.raises(KeyError):
            rotation.remove(first)


def test_removing_an_unknown_key() -> None:
    """A key that is not in the rotation is an error, and its neighbour stays."""
    rotation: Rotation[Key] = Rotation()
    rotation.add((0.1, 1, "n1"))
    for key in ((0.1, 1, "n0"), (0.1, 1, "n2")):
        with pytest.raises(KeyError):
            rotation.remove(key)
    assert len(rotation) == 1


class Counted(float):
    """A load that counts its comparisons."""

    comparisons: ClassVar[int] = 0

    def __lt__(self, other: float) -> bool:
        Counted.comparisons += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = float.__hash__


def test_comparisons_are_few() -> None:
    """To move one of 10,000 nodes to its new place takes no more comparisons than two binary searches."""
    rotation: Rotation[Key] = Rotation()
    loads = [Counted(number) for number in range(10_000)]
    for load in loads:
        rotation.add((load, 0, "n"))
    Counted.comparisons = 0
    rotation.remove((loads[0], 0, "n"))
    rotation.add((Counted(5_000.5), 0, "n"))
    assert Counted.comparisons <= 2 * 14 + 2


def test_removed_keys_are_freed() -> None:
    """Only a few keys removed at the front stay in memory."""
    rotation: Rotation[Counted] = Rotation()
    seen = []
    for number in range(1000):
        key = Counted(number)
        seen.append(weakref.ref(key))
        rotation.add(key)
    for _ in range(1000):
        rotation.remove(*rotation.first(1))
    assert len(rotation) == 0
    assert sum(each() is not None for each in seen) <= 101
