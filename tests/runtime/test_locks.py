"""Locks keep their order with the debug checks on, and cost nothing with them off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from parlour.runtime.locks import LockOrderError, RankedLock, held_ranks, make_lock
from parlour.runtime.threads import join_all, spawn
from support.waiting import eventually


def test_the_tests_run_with_debug_locks() -> None:
    """All tests of this suite run with checked locks."""
    assert isinstance(make_lock(1, "any"), RankedLock)


def test_without_the_variable_a_lock_is_plain() -> None:
    """Outside the tests the checks cost nothing."""
    code = "from parlour.runtime.locks import make_lock; print(type(make_lock(1, 'x')))"
    environment = {key: value for key, value in os.environ.items() if key != "PARLOUR_DEBUG_LOCKS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"{type(threading.Lock())}\n"


def test_upward_is_allowed() -> None:
    """A thread may hold locks of rising rank and release them in any order."""
    low, middle, high = make_lock(1, "low"), make_lock(2, "middle"), make_lock(3, "high")
    low.acquire()
    middle.acquire()
    high.acquire()
    assert held_ranks() == [1, 2, 3]
    middle.release()
    low.release()
    assert held_ranks() == [3]
    high.release()
    assert held_ranks() == []


@pytest.mark.parametrize("rank", [1, 2], ids=["lower", "same"])
def test_downward_is_refused(rank: int) -> None:
    """A lock of lower or equal rank is refused by name and stays free; the held lock stays held."""
    held, wanted = make_lock(2, "room lobby"), make_lock(rank, "member ada")
    with held:
        with pytest.raises(
            LockOrderError, match=rf"member ada \(rank {rank}\) taken while room lobby \(rank 2\) is held"
        ):
            wanted.acquire()
        assert not wanted.locked()
        assert held_ranks() == [2]
    with wanted:
        pass


def test_taking_a_lock_twice_is_refused() -> None:
    """A second acquisition by the same thread is an error and not a deadlock."""
    lock = make_lock(1, "any")
    with lock, pytest.raises(LockOrderError):
        lock.acquire()


def test_a_try_may_go_downward() -> None:
    """An attempt that cannot block cannot form a cycle; a lock taken so does not hide the higher lock below it."""
    high, low, middle = make_lock(3, "high"), make_lock(1, "low"), make_lock(2, "middle")
    with high:
        assert low.acquire(blocking=False)
        with pytest.raises(LockOrderError, match="while high"):
            middle.acquire()
        low.release()
    assert held_ranks() == []


def test_each_thread_holds_its_own() -> None:
    """A lock that one thread holds does not bind another thread, and another thread cannot release it."""
    high, low = make_lock(2, "high"), make_lock(1, "low")
    outcome: list[object] = []

    def other() -> None:
        with low:
            outcome.append(held_ranks())
            outcome.append(high.acquire(timeout=0.01))
        try:
            high.release()
        except RuntimeError as error:
            outcome.append(str(error))

    with high:
        join_all([spawn("other", other)], timeout=5)
        assert high.locked()
    assert outcome == [[1], False, "high released by a thread that does not hold it"]


def test_a_condition_over_a_lock() -> None:
    """`threading.Condition` works over a ranked lock: a wait releases it, and a wake-up takes it again in its rank."""
    lock, outer = make_lock(5, "queue"), make_lock(1, "outer")
    condition = threading.Condition(lock)
    items: list[int] = []
    ranks: list[list[int]] = []

    def consume() -> None:
        with outer, condition:
            ranks.append(held_ranks())
            assert condition.wait_for(lambda: items, timeout=5)
            ranks.append(held_ranks())

    consumer = spawn("consumer", consume)
    eventually(lambda: ranks and not lock.locked(), what="the consumer to wait")
    with condition:
        items.append(1)
        condition.notify_all()
    join_all([consumer], timeout=5)
    assert ranks == [[1, 5], [1, 5]]
    assert held_ranks() == []


def test_a_condition_times_out() -> None:
    """After a timed-out wait the lock is held again; `notify` without the lock is refused."""
    condition = threading.Condition(make_lock(5, "queue"))
    with condition:
        assert not condition.wait(timeout=0.01)
        assert held_ranks() == [5]
    with pytest.raises(RuntimeError):
        condition.notify()


def test_waiting_below_a_held_lock() -> None:
    """A wake-up takes the condition's lock again; with a higher lock held, that is out of order."""
    condition, high = threading.Condition(make_lock(1, "queue")), make_lock(2, "high")
    with condition:
        high.acquire()
        with pytest.raises(LockOrderError):
            condition.wait(timeout=0.01)
        high.release()
        condition.acquire()
