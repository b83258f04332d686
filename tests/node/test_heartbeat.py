"""How often the other nodes are told again where a room stands."""

from __future__ import annotations

import threading

import pytest

from parlour.node.rooms.heartbeat import BeatSeries
from parlour.runtime.scheduler import Scheduler, WorkerPool
from support.waiting import MS, eventually, poll


@pytest.mark.parametrize(("again", "beats"), [(None, 3), (1, 3), (2, 4), (3, 5)])
def test_a_reason_amid_the_series_begins_it_anew(again: int | None, beats: int) -> None:
    """Before which beat it comes decides how many there are in all: of several series never more than one goes on."""
    workers = WorkerPool("worker")
    scheduler = Scheduler("scheduler", workers)
    mutex = threading.Lock()  # as the room's
    beaten: list[int] = []

    def beat(heart: BeatSeries) -> None:
        with mutex:
            beaten.append(len(beaten) + 1)
            if beaten[-1] == again:
                heart.begin()
            heart.advance()

    heart = BeatSeries(scheduler, beat, (10 * MS, 20 * MS, 30 * MS))
    workers.start()
    scheduler.start()
    try:
        with mutex:
            heart.begin()
        eventually(lambda: len(beaten) >= beats)
        assert not poll(lambda: len(beaten) > beats, 0.1)
        with mutex:
            heart.begin()
        eventually(lambda: len(beaten) >= beats + 3)
        assert not poll(lambda: len(beaten) > beats + 3, 0.1)
    finally:
        scheduler.stop()
        workers.stop()
