"""The heartbeats by which a room repeats its last offset."""

from __future__ import annotations

import threading

import pytest

from parlour.node.rooms.heartbeat import BeatSeries
from parlour.runtime.scheduler import Scheduler, WorkerPool
from support.waiting import MS, eventually, poll


@pytest.mark.parametrize(("again", "beats"), [(None, 3), (1, 3), (2, 4), (3, 5)])
def test_begin_restarts_the_series(again: int | None, beats: int) -> None:
    """`begin` before a beat starts the series again; two runs of a series never go on at the same time."""
    workers = WorkerPool("worker")
    scheduler = Scheduler("scheduler", workers)
    mutex = threading.Lock()  # in the place of the room's mutex
    done: list[int] = []

    def beat(series: BeatSeries) -> None:
        with mutex:
            done.append(len(done) + 1)
            if done[-1] == again:
                series.begin()
            series.advance()

    series = BeatSeries(scheduler, beat, (10 * MS, 20 * MS, 30 * MS))
    workers.start()
    scheduler.start()
    try:
        with mutex:
            series.begin()
        eventually(lambda: len(done) >= beats)
        assert not poll(lambda: len(done) > beats, 0.1)
        with mutex:
            series.begin()
        eventually(lambda: len(done) >= beats + 3)
        assert not poll(lambda: len(done) > beats + 3, 0.1)
    finally:
        scheduler.stop()
        workers.stop()
