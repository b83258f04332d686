"""A node that is stopped and reads nothing: no call waits longer than its timeout."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parlour.client import Chat, DeadlineError, Message, Reconnecting, Room, connect, connection
from support.ports import free_ports
from support.processes import processes
from support.waiting import MS, eventually

BRIEFLY = 200 * MS
"""Seconds that a call may take; a node is given up after 15."""


def fill(room: Room) -> None:
    """Post until the node takes no more."""
    while True:
        room.post("x" * 16_000, timeout=BRIEFLY)


@contextmanager
def stopped_node(log: Path) -> Iterator[tuple[Chat, int]]:
    """Yield a chat in `lobby` and `den`, and the process of its node, which is stopped and has taken all it can."""
    with processes() as started:
        port = free_ports()
        started.broker(port)
        node = started.node("n1", port, log)
        with connect(f"127.0.0.1:{port}", "ada") as ada:
            room, _ = ada.join("lobby"), ada.join("den")
            os.kill(node.pid, signal.SIGSTOP)
            with pytest.raises(DeadlineError):
                fill(room)
            yield ada, node.pid


def test_no_call_waits_longer_than_its_timeout(tmp_path: Path) -> None:
    """Neither questions nor posts; earlier posts fail in time although the reconnector sends a join."""
    with stopped_node(tmp_path / "log.sqlite") as (ada, node):
        link = ada._reconnector.current
        lobby, den = ada.rooms
        for ask in (
            lambda: ada.join("attic", timeout=BRIEFLY),
            lambda: lobby.who(timeout=BRIEFLY),
            lambda: lobby.history(timeout=BRIEFLY),
            lambda: lobby.say("anybody?", timeout=BRIEFLY),
            lambda: den.leave(timeout=BRIEFLY),
        ):
            with pytest.raises(DeadlineError):
                ask()
        eventually(lambda: not ada.outbox._pending, what="what was posted has failed")
        assert ada._reconnector.current is link
        os.kill(node, signal.SIGCONT)
        last = lobby.say("and on")
        assert last.text == "and on"
        heard = [event for event in lobby.events(0.0) if isinstance(event, Message)]
        assert [message.offset for message in heard] == list(range(1, last.offset + 1))
        assert ada._reconnector.current is link


def test_a_node_that_takes_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says so, as the node did not close the connection."""
    monkeypatch.setattr(connection, "_SILENCES", 1000)
    monkeypatch.setattr(connection, "_SILENCE", 500 * MS)
    with stopped_node(tmp_path / "log.sqlite") as (ada, _):
        lost = eventually(lambda: [event for event in ada.rooms[0].events(0.1) if isinstance(event, Reconnecting)])
        assert lost[0].reason == "n1 takes nothing any more"
