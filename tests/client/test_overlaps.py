"""Overlapping calls of a chat: threads join, leave and ask while connections change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from parlour.client import Chat, DeadlineError, DisconnectedError, NodeError, UsageError
from parlour.client import room as rooms
from parlour.client.dialing import DialError, dial
from parlour.client.requests import fail
from parlour.client.room import Room
from parlour.node.log import LogError
from parlour.node.log.memory import MemoryLog
from parlour.runtime.threads import join_all, spawn
from parlour.wire import messages as wire
from parlour.wire.limits import PROTOCOL
from support.cluster import Cluster
from support.waiting import MS, eventually, poll


def here(cluster: Cluster, room: str) -> list[str]:
    """Return the members of a room except the client that asks."""
    with_bob = cluster.chat("bob").join(room)
    return [name for name in with_bob.who() if name != "bob"]


@contextmanager
def parting(chat: Chat, room: Room) -> Iterator[None]:
    """Have a thread leave the room while the block runs; the node hears of it only after the block."""
    request = chat.request
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(chat, "request", lambda _: True)
        leaver = spawn("leaver", room.leave)
        eventually(lambda: room.is_leaving)
        yield
    request(wire.Leave(room.name))
    join_all([leaver], 5)


def test_a_question_before_the_room_is_joined_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new node refuses it, since it does not know the room yet; that is no answer to the join."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    first = ada._reconnector.current

    def away(*_: Any) -> Any:
        raise LogError("the log is away")

    with monkeypatch.context() as failing:
        for method in ("extent", "read", "append"):
            failing.setattr(MemoryLog, method, away)
        cluster.node_of(ada).stop()
        eventually(lambda: ada._reconnector.current not in (None, first))
        eventually(lambda: ada._reconnector.current is not None and "lobby" in ada._reconnector.current._again)
        for ask in (room.who, room.history):
            with pytest.raises((DeadlineError, NodeError)):
                ask(timeout=200 * MS)
    assert room.say("still in").offset == 1
    assert ada.rooms == [room]


def test_an_error_does_not_prevent_leaving(cluster: Cluster) -> None:
    """It is for the question of another thread; only `left` answers `leave`."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    with parting(ada, room):
        room.on_error(wire.Error("unavailable", "the disk is away", "lobby"))
        assert room.is_leaving
    assert not ada.rooms


def test_the_outcome_of_a_join_is_told_once(cluster: Cluster) -> None:
    """The chat is closed while the list of names, which ends the join, is being handled."""
    ada = cluster.chat("ada")
    link = ada._reconnector.current
    assert link is not None
    room = Room(ada, "lobby")
    room.on_joined(wire.Joined("lobby", "e", 0, 0, True), link)
    with room._lock:
        taken = room._requests.take_all()
    room.on_members(wire.Members("lobby", ["ada"], 1), link)
    fail(taken, DisconnectedError("the chat was closed"))
    with pytest.raises(DisconnectedError):
        room.await_joined(1)


def test_a_join_given_up_is_undone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time ended between the two answers of the node."""
    ada = cluster.chat("ada")
    link = ada._reconnector.current
    assert link is not None
    with monkeypatch.context() as cut_short:
        cut_short.setattr(Room, "on_members", lambda *_: None)
        with pytest.raises(DeadlineError):
            ada.join("lobby", timeout=300 * MS)
        eventually(lambda: "lobby" not in link.asked, what="it is left")
    assert here(cluster, "lobby") == []


def test_a_join_during_a_leave_gives_a_new_room(cluster: Cluster) -> None:
    """The join waits for the leave, and so do all threads that leave."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    joined: list[Room] = []
    with parting(ada, room):
        with pytest.raises(DeadlineError):
            room.leave(timeout=0.0)
        joiner = spawn("joiner", lambda: joined.append(ada.join("lobby")))
        assert not poll(lambda: joined, 0.1)
    join_all([joiner], 5)
    (again,) = joined
    assert again is not room
    assert again.say("here").offset == 1


def test_a_failed_join_ends_no_other_room(cluster: Cluster) -> None:
    """Another thread has left and joined meanwhile."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    ada._forget(Room(ada, "lobby"))
    assert ada.rooms == [room]


def test_rooms_that_were_left_are_forgotten(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that joins and leaves for weeks on one connection, with unanswered questions, does not grow."""
    ada = cluster.chat("ada")
    link = ada._reconnector.current
    assert link is not None
    for number in range(10):
        ada.join(f"room-{number}").leave()
    eventually(lambda: not (link.asked or link.joined or link.epochs))
    room = ada.join("lobby")
    with monkeypatch.context() as unheard:
        unheard.setattr(ada, "request", lambda _: True)
        with pytest.raises(DeadlineError):
            room.who(timeout=0.0)
    assert not room.questions


@pytest.mark.parametrize("address", ["chat..example.org:7000", "nowhere"])
def test_a_wrong_address_is_a_failed_attempt(address: str) -> None:
    """A broker may name a wrong address for a node; another node may work."""
    hello = wire.Hello("ada", "ticket", PROTOCOL)
    with pytest.raises(DialError, match=r"cannot be reached at .* HOST:PORT"):
        dial("n1", address, hello, 1.0)


def test_a_chat_without_a_free_thread_comes_back_later(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no thread for the first attempt."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    start, refused = threading.Thread.start, threading.Event()

    def crowded(thread: threading.Thread) -> None:
        if thread.name == "ada-dialing" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", crowded)
    assert ada._reconnector.current is not None
    ada._reconnector.current.connection._shut()
    assert room.say("back").offset == 1
    assert refused.is_set()


def test_a_post_held_up_by_a_callback_fails(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback of another post holds the thread that would tell the outcome."""
    room = cluster.chat("ada").join("lobby")
    monkeypatch.setattr(rooms, "_SETTLING", 0.05)
    monkeypatch.setattr(Chat, "post", lambda *_: Future())
    with pytest.raises(DeadlineError, match="may have been logged"):
        room.say("hello", timeout=0.05)


def test_numbers_below_one_are_refused(cluster: Cluster) -> None:
    """A room that keeps no events, and a history of no messages, are mistakes."""
    ada = cluster.chat("ada")
    with pytest.raises(UsageError, match="backlog"):
        ada.join("lobby", backlog=0)
    room = ada.join("lobby")
    for limit in (0, -5):
        with pytest.raises(UsageError, match="limit"):
            room.history(limit=limit)
