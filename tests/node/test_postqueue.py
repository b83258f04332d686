"""The queue of posts in a flooded room: bounded, and first come, first served."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.log import Post
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import MAX_BATCH_BYTES, PostQueue, Submission, Waiter

MOST = 5


def posts(*numbers: int, size: int = 1) -> Submission:
    """Return posts with these ids, of `size` bytes in all; the member does not matter here."""
    return Submission(cast("Member[Any]", None), [Post("s", number, "ada", 0, "") for number in numbers], size, 0.0)


def ids(submissions: list[Submission]) -> list[int]:
    """Return the ids of the posts."""
    return [post.id for submission in submissions for post in submission.posts]


def test_waiters_are_served_in_order() -> None:
    """A later post never passes a waiting one; a waiter that gave up is not admitted."""
    queue = PostQueue(MOST)
    assert queue.put(posts(1, 2, 3)) is None
    assert queue.put(posts(4, 5)) is None
    waiters = [queue.put(posts(number)) for number in (6, 7, 8)]
    first, second, third = (waiter for waiter in waiters if waiter is not None)
    assert queue.give_up(second)
    assert ids(queue.take(1)) == [1, 2, 3]
    assert first.admitted.is_set()
    assert not queue.give_up(first), "the waiter is admitted: its posts will be logged"
    assert third.admitted.is_set()
    assert queue.put(posts(9)) is None
    assert queue.put(posts(10)) is not None
    assert ids(queue.take(100)) == [4, 5, 6, 8, 9]
    assert ids(queue.take(100)) == [10]
    assert not queue


def test_batch_ends_at_its_limits() -> None:
    """A batch ends with the submission that reaches the limit of posts or bytes; no submission is split."""
    queue = PostQueue(100)
    for number in range(1, 10):
        queue.put(posts(number, number + 10, size=MAX_BATCH_BYTES // 4 + 1))
    assert len(queue) == 18
    assert ids(queue.take(100)) == [1, 11, 2, 12, 3, 13, 4, 14]
    assert ids(queue.take(3)) == [5, 15, 6, 16]
    assert len(queue) == 6


@given(st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=60), st.integers(1, 7))
def test_order_and_bound_hold(script: list[int], batch: int) -> None:
    """For any script of puts (numbers of posts) and takes (0), all posts come out in order."""
    queue, numbers = PostQueue(MOST), count(1)
    put = 0
    waiters: list[Waiter] = []
    taken: list[int] = []
    for step in script:
        if step:
            waiter = queue.put(posts(*(next(numbers) for _ in range(step))))
            waiters += [waiter] if waiter is not None else []
            put += step
        else:
            taken += ids(queue.take(batch))
        assert len(queue) < MOST + 4
        assert len(queue) >= MOST or all(waiter.admitted.is_set() for waiter in waiters), (
            "no waiter waits beside a free place"
        )
    while queue:
        taken += ids(queue.take(batch))
    assert taken == list(range(1, put + 1))
