"""The inbox of a room that is flooded: bounded, and first come, first served."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.log import Post
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import BATCH, PostQueue, Submission, Waiter

MOST = 5


def posts(*numbers: int, size: int = 1) -> Submission:
    """Return posts with these ids, of so many bytes in all; who said them does not matter here."""
    return Submission(cast("Member[Any]", None), [Post("s", number, "ada", 0, "") for number in numbers], size, 0.0)


def ids(submissions: list[Submission]) -> list[int]:
    """Return the posts' ids."""
    return [post.id for submission in submissions for post in submission.posts]


def test_who_came_first_gets_place_first() -> None:
    """Nobody who comes when place is free again passes those who wait; who gave up is not let in."""
    inbox = PostQueue(MOST)
    assert inbox.put(posts(1, 2, 3)) is None
    assert inbox.put(posts(4, 5)) is None
    turns = [inbox.put(posts(number)) for number in (6, 7, 8)]
    first, second, third = (turn for turn in turns if turn is not None)
    assert inbox.give_up(second)
    assert ids(inbox.take(1)) == [1, 2, 3]
    assert first.come.is_set()
    assert not inbox.give_up(first), "its place has come: the posts will be logged"
    assert third.come.is_set()
    assert inbox.put(posts(9)) is None
    assert inbox.put(posts(10)) is not None
    assert ids(inbox.take(100)) == [4, 5, 6, 8, 9]
    assert ids(inbox.take(100)) == [10]
    assert not inbox


def test_a_batch_ends_with_the_submission_that_makes_it_long() -> None:
    """Neither many more posts than asked for, nor many more bytes than a batch shall have; none is torn apart."""
    inbox = PostQueue(100)
    for number in range(1, 10):
        inbox.put(posts(number, number + 10, size=BATCH // 4 + 1))
    assert len(inbox) == 18
    assert ids(inbox.take(100)) == [1, 11, 2, 12, 3, 13, 4, 14]
    assert ids(inbox.take(3)) == [5, 15, 6, 16]
    assert len(inbox) == 6


@given(st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=60), st.integers(1, 7))
def test_all_come_out_in_order_and_never_too_many_wait_inside(script: list[int], batch: int) -> None:
    """Whatever is put, a number of posts at a time, and taken, which is what a 0 stands for."""
    inbox, numbers = PostQueue(MOST), count(1)
    put = 0
    turns: list[Waiter] = []
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
