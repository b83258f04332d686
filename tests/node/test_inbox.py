"""The inbox of a room that is flooded: bounded, and first come, first served."""

from __future__ import annotations

from itertools import count
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.inbox import BATCH, Inbox, Turn
from parlour.node.log import Post
from parlour.node.outlet import Member, Posting

MOST = 5


def posts(*numbers: int, size: int = 1) -> list[Posting]:
    """Return posts with these ids, of so many bytes each; who said them does not matter here."""
    return [Posting(cast(Member, None), Post("s", number, "ada", 0, ""), size, 0.0) for number in numbers]


def ids(postings: list[Posting]) -> list[int]:
    """Return the posts' ids."""
    return [posting.post.id for posting in postings]


def test_who_came_first_gets_place_first() -> None:
    """Nobody who comes when place is free again passes those who wait; who gave up is not let in."""
    inbox = Inbox(MOST)
    assert inbox.put(posts(1, 2, 3)) is None
    assert inbox.put(posts(4, 5)) is None
    turns = [inbox.put(posts(number)) for number in (6, 7, 8)]
    first, second, third = (turn for turn in turns if turn is not None)
    assert inbox.give_up(second)
    assert ids(inbox.take(1)) == [1]
    assert first.come.is_set()
    assert not third.come.is_set()
    assert not inbox.give_up(first), "its place has come: the posts will be logged"
    assert inbox.put(posts(9)) is not None
    assert ids(inbox.take(100)) == [2, 3, 4, 5, 6]
    assert ids(inbox.take(100)) == [8, 9]
    assert not inbox


def test_a_batch_ends_with_the_post_that_makes_it_long() -> None:
    """Neither more posts than asked for, nor many more bytes than a batch shall have."""
    inbox = Inbox(100)
    inbox.put(posts(*range(1, 10), size=BATCH // 4 + 1))
    assert ids(inbox.take(100)) == [1, 2, 3, 4]
    assert ids(inbox.take(2)) == [5, 6]


@given(st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=60), st.integers(1, 7))
def test_all_come_out_in_order_and_never_too_many_wait_inside(script: list[int], batch: int) -> None:
    """Whatever is put, a number of posts at a time, and taken, which is what a 0 stands for."""
    inbox, numbers = Inbox(MOST), count(1)
    put = 0
    turns: list[Turn] = []
    taken: list[int] = []
    for step in script:
        if step:
            turn = inbox.put(posts(*(next(numbers) for _ in range(step))))
            turns += [turn] if turn is not None else []
            put += step
        else:
            taken += ids(inbox.take(batch))
        assert len(inbox) < MOST + 4
        assert len(inbox) >= MOST or all(turn.come.is_set() for turn in turns), "nobody waits beside a free place"
    while inbox:
        taken += ids(inbox.take(batch))
    assert taken == list(range(1, put + 1))
