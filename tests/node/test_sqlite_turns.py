"""The nodes of a machine share one file, and none of them may keep the others from it."""

from __future__ import annotations

import fcntl
import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from parlour.node.log import Appended, Post, StaleStateError, sqlite_file
from parlour.node.log import sqlite as module
from parlour.node.log.opening import open_log
from parlour.node.log.sqlite import SqliteLog
from parlour.runtime.threads import spawn
from support.waiting import eventually, poll

numbers = itertools.count(1)


def post() -> list[Post]:
    """Return a post that nobody made yet."""
    return [Post("s", next(numbers), "ada", 1, "hello")]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[tuple[SqliteLog, SqliteLog]]:
    """Open one file as two nodes do."""
    url = f"sqlite://{tmp_path}/log.sqlite"
    with closing(open_log(url)) as log, closing(open_log(url)) as other:
        assert isinstance(log, SqliteLog)
        assert isinstance(other, SqliteLog)
        yield log, other


def test_a_node_that_never_pauses_gives_the_others_their_turn(logs: tuple[SqliteLog, SqliteLog]) -> None:
    """While another waits it commits a few times at most; without turns it would hundreds of times."""
    greedy, modest = logs
    commits: list[int] = []
    done = threading.Event()
    log_job = greedy._log

    def log_slowly(job: module._Job) -> list[Appended] | StaleStateError:
        poll(lambda: False, 0.02)
        return log_job(job)

    greedy._log = log_slowly  # type: ignore[method-assign]

    def hog() -> None:
        while not done.is_set():
            commits.append(greedy.append("hog", post())[0].offset)

    thread = spawn("hog", hog)
    try:
        eventually(lambda: len(commits) > 3)
        waits: list[int] = []
        for _ in range(10):
            before = len(commits)
            modest.append("lobby", post())
            waits.append(len(commits) - before)
        # A busy machine may stop one of the threads for longer than a turn is kept for it.
        assert sorted(waits)[7] <= 5, waits
    finally:
        done.set()
        thread.join(10)


def test_nobody_waits_without_the_turn(logs: tuple[SqliteLog, SqliteLog], monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that may write without a new turn, but finds the file locked, takes the turn like the others."""
    log, other = logs
    log.append("lobby", post())
    monkeypatch.setattr(log._file, "_turn_due", float("inf"))
    other._file.begin()
    thread = spawn("waits", lambda: log.append("lobby", post()))
    try:

        def taken() -> bool:
            try:
                fcntl.flock(other._file._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(other._file._turn, fcntl.LOCK_UN)
            return False

        eventually(taken)
    finally:
        other._file.writer.execute("ROLLBACK")
        thread.join(10)


def test_a_long_piece_of_work_is_cut(logs: tuple[SqliteLog, SqliteLog], monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in many rooms is not one transaction, however much it is."""
    log, _ = logs
    monkeypatch.setattr(module, "HOLD", 0.0)
    jobs = [module._Job(f"room {number}", post()) for number in range(3)]
    assert [log._commit(jobs), log._commit(jobs[1:]), log._commit(jobs[2:])] == [1, 1, 1]
    assert all(job.appended for job in jobs)


def test_the_turn_of_a_node_that_stands_still_is_not_waited_for(
    logs: tuple[SqliteLog, SqliteLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the order depends on it."""
    monkeypatch.setattr(sqlite_file, "TURN", 0.05)
    log, other = logs
    fcntl.flock(other._file._turn, fcntl.LOCK_EX)
    assert log.append("lobby", post())[0].offset == 1
