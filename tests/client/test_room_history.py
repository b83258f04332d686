"""How the library reads back in the log of a room."""

from __future__ import annotations

import pytest

from parlour.client import Message, UsageError, connect
from parlour.node.log import Extent, Post
from parlour.runtime.threads import join_all, spawn
from support.cluster import Cluster


def fill(cluster: Cluster, count: int, trimmed: int = 0) -> None:
    """Log this number of messages of 2000 bytes in the lobby, and forget the first ones."""
    log = cluster.nodes[0].log
    log.append("lobby", [Post("s", number, "eve", 1, "x" * 2000) for number in range(1, count + 1)])
    assert not log.trim("lobby", count - trimmed, 2, count)


def test_history_joins_as_many_pages_as_needed(cluster: Cluster) -> None:
    """The messages come in order, although one frame holds only some thirty of them."""
    fill(cluster, 150, trimmed=20)
    with connect(cluster.broker.address, "ada", room="lobby") as ada:
        room = ada.join("lobby")
        assert [message.offset for message in room.history(limit=100)] == list(range(51, 151))
        older = room.history(before=51, limit=100)
        assert [message.offset for message in older] == list(range(21, 51))
        assert all(message.replay and message.by == "eve" for message in older)
        assert room.history(before=21) == []
        assert room.history(before=1) == []
        assert next(room.events(0.01), None) is None


def test_history_may_be_asked_by_several_threads(cluster: Cluster) -> None:
    """Each gets its own answer, also if two ask the same."""
    fill(cluster, 60)
    with connect(cluster.broker.address, "ada", room="lobby") as ada:
        room = ada.join("lobby")
        found: list[tuple[int, int, list[int]]] = []

        def ask(before: int, limit: int) -> None:
            for _ in range(20):
                found.append((before, limit, [message.offset for message in room.history(before, limit)]))

        join_all([spawn(f"asks-{n}", ask, 30 + n // 2, 10 + n % 3) for n in range(6)], 20)
        assert len(found) == 120
        assert all(offsets == list(range(before - limit, before)) for before, limit, offsets in found)


def test_history_ends_where_another_epoch_begins(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was replaced between two pages: the offsets of the first mean nothing in the second."""
    fill(cluster, 150)
    log = cluster.nodes[0].log
    with connect(cluster.broker.address, "ada", room="lobby") as ada:
        room = ada.join("lobby")
        extent = log.extent

        def replaced(asked: str) -> Extent:
            found = extent(asked)
            monkeypatch.setattr(log.engine, "_epoch", "another")
            return found

        monkeypatch.setattr(log, "extent", replaced)
        offsets = [message.offset for message in room.history(limit=150)]
        assert offsets == list(range(151 - len(offsets), 151))
        assert 0 < len(offsets) < 50


def test_a_history_below_one_is_refused(cluster: Cluster) -> None:
    """There is no offset below 1."""
    with connect(cluster.broker.address, "ada", room="lobby") as ada, pytest.raises(UsageError):
        ada.join("lobby").history(before=0)


def test_names_of_older_logs_are_kept(cluster: Cluster) -> None:
    """An older log may have names that are refused today."""
    cluster.nodes[0].log.append("lobby", [Post("s1", 1, "ada: all is well", 1197849600123, "so they say")])
    with connect(cluster.broker.address, "ada", room="lobby") as ada:
        room = ada.join("lobby", history=1)
        first = next(room.events(5))
        assert isinstance(first, Message)
        assert first.by == room.history()[0].by == "ada: all is well"
