"""The reconnector of a chat when a move takes long, a room was given up meanwhile, or a connection breaks again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from parlour.broker import BrokerSettings
from parlour.client import Chat, DeadlineError, Message, Reconnected, reconnector, retry
from parlour.client.backoff import Backoff
from parlour.client.nodelink import NodeLink
from parlour.node import Node, NodeSettings
from parlour.node.log import Extent
from parlour.wire.control import Order, Transfer
from support import cluster as clusters
from support.cluster import Cluster
from support.waiting import MS, eventually


class HeldUp:
    """The state of a node that is held up: `waits` is set once a thread waits; setting `over` ends the waiting."""

    def __init__(self) -> None:
        self.waits, self.over = threading.Event(), threading.Event()


@contextmanager
def held_up(node: Node, room: str) -> Iterator[HeldUp]:
    """While the block runs, let this node not answer joins of a room for which it must ask the log."""
    held, extent = HeldUp(), node.log.extent

    def wait(asked: str) -> Extent:
        # The nodes of a test share one log.
        if asked == room and threading.current_thread().name.startswith(f"{node.name}-client"):
            held.waits.set()
            assert held.over.wait(60)
        return extent(asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.log, "extent", wait)
        try:
            yield held
        finally:
            held.over.set()


def ends(cluster: Cluster, chat: Chat) -> tuple[Node, Node]:
    """Return the node of a chat, and the other node."""
    here = cluster.node_of(chat)
    return here, next(node for node in cluster.nodes if node is not here)


def move(here: Node, there: Node) -> None:
    """Let a node ask the client that came last to move to another node."""
    here._migration.hear_order(Order(here.name, here.instance, moves=[Transfer(there.name, 1)]))


def link_of(chat: Chat) -> NodeLink:
    """Return a chat's current connection."""
    link = chat._reconnector.current
    assert link is not None
    return link


def joined_ahead(chat: Chat, room: str) -> bool:
    """Whether a room is joined on the connection of the move."""
    ahead = chat._reconnector._next
    return ahead is not None and room in ahead.joined


def test_a_move_that_takes_too_long_is_given_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer all joins in time is left again, and the chat stays where it is."""
    monkeypatch.setattr(reconnector, "MOVING", 100 * MS)
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    link, (here, there) = link_of(ada), ends(cluster, ada)
    with held_up(there, "lobby") as held:
        move(here, there)
        assert held.waits.wait(5)
        eventually(lambda: ada._reconnector._next is None)
        assert ada._reconnector.current is link
        room.say("still here")
    assert [type(event) for event in room.events(0.05)] == [Message]


def test_a_late_answer_to_a_join_is_undone(cluster: Cluster) -> None:
    """A client that gave up waiting for it is not shown in the room."""
    ada = cluster.chat("ada")
    link = link_of(ada)
    with held_up(cluster.node_of(ada), "lobby") as held:
        with pytest.raises(DeadlineError):
            ada.join("lobby", timeout=100 * MS)
        assert held.waits.wait(5)
    eventually(lambda: "lobby" not in link.asked, what="it was joined, and left")
    room = cluster.chat("bob").join("lobby")
    eventually(lambda: room.who() == ["bob"])


def test_giving_up_does_not_affect_other_threads(cluster: Cluster) -> None:
    """Another thread joins the same room, or asks for the same page, and waits longer: it gets its answer."""
    ada = cluster.chat("ada")
    node = cluster.node_of(ada)
    with ThreadPoolExecutor(2) as others:
        with held_up(node, "lobby") as held:
            impatient = others.submit(ada.join, "lobby", timeout=300 * MS)
            assert held.waits.wait(5)
            patient = others.submit(ada.join, "lobby", timeout=5000 * MS)
            assert isinstance(impatient.exception(), DeadlineError)
        room = patient.result()
        assert ada.rooms == [room]
        said = room.say("hello")
        with held_up(node, "den") as held:
            den = others.submit(ada.join, "den", timeout=5000 * MS)  # The node answers questions in order.
            assert held.waits.wait(5)
            asking = others.submit(room.history, timeout=5000 * MS)
            eventually(lambda: room.questions)
            with pytest.raises(DeadlineError):
                room.history(timeout=0.0)
        assert [message.id for message in asking.result()] == [said.id]
        den.result()


def test_a_room_left_during_a_move(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat has joined it at the new node already, and only the old node was told of the leave."""
    monkeypatch.setattr(reconnector, "MOVING", 60.0)
    ada = cluster.chat("ada")
    den, _ = ada.join("den"), ada.join("lobby")
    here, there = ends(cluster, ada)
    with held_up(there, "lobby"):
        move(here, there)
        eventually(lambda: joined_ahead(ada, "den"))
        den.leave()
    eventually(lambda: ada.node == there.name)
    room = cluster.chat("bob").join("den")
    eventually(lambda: room.who() == ["bob"])


def test_an_unanswered_join_is_repeated_after_a_move(empty_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that were let go are asked for before the move ends, and come after it."""
    monkeypatch.setattr(reconnector, "MOVING", 60.0)
    for name in ("n1", "n2"):
        empty_cluster.add_node(name, ring_bytes=1)
    ada = empty_cluster.chat("ada")
    room, _ = ada.join("lobby", backlog=5), ada.join("den")
    for number in range(1, 21):
        assert room.say(str(number)).offset == number
    here, there = ends(empty_cluster, ada)
    events = room.events(10)
    with held_up(here, "lobby") as old, held_up(there, "den") as new:
        move(here, there)
        eventually(lambda: joined_ahead(ada, "lobby"))
        told = [next(events) for _ in range(5)]
        assert not list(room.events(0.05))
        assert old.waits.wait(5)
        new.over.set()
        told += [next(events) for _ in range(15)]
    assert [event.offset for event in told if isinstance(event, Message)] == list(range(1, 21))


def cut(chat: Chat) -> None:
    """Break the connection, and check that the chat finds another."""
    room = chat.rooms[0]
    link_of(chat).connection._shut()
    assert any(isinstance(event, Reconnected) for event in room.events(4000 * MS))


def test_the_only_node_is_tried_again_at_once() -> None:
    """Perhaps only the connection broke, so there is no wait."""
    settings = BrokerSettings(retry_after=60.0, settle=0.1)
    with clusters.cluster(1, NodeSettings(report_interval=0.1), settings) as running:
        ada = running.chat("ada")
        room = ada.join("lobby")
        cut(ada)
        assert room.say("back").offset == 1


def test_repeated_losses_wait_longer_each_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only after a connection that held for a while the waits begin anew."""
    waits: list[float] = []

    def draw(_: float, longest: float) -> float:
        waits.append(longest)
        return 0.0

    monkeypatch.setattr(retry, "STEADY", 1000.0)
    ada = cluster.chat("ada")
    ada.join("lobby")
    ada._reconnector._retry._backoff = Backoff(draw)
    for _ in range(3):
        cut(ada)
    assert waits == [0.1, 0.2]
    monkeypatch.setattr(retry, "STEADY", 0.0)
    cut(ada)
    assert waits == [0.1, 0.2]


def test_messages_let_go_come_from_either_connection(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a move both nodes are asked for them, and the new one answers, too."""
    monkeypatch.setattr(reconnector, "MOVING", 60.0)
    ada = cluster.chat("ada")
    room, _ = ada.join("lobby", backlog=5), ada.join("den")
    for number in range(1, 21):
        room.say(str(number))
    old = link_of(ada)
    here, there = ends(cluster, ada)
    events = room.events(5)
    with held_up(there, "den"):
        move(here, there)
        eventually(lambda: joined_ahead(ada, "lobby"))
        monkeypatch.setattr(old.connection, "send", lambda _: None)  # Messages to the old node are lost.
        told = [next(events) for _ in range(5)]
        assert not list(room.events(0.05))
        old.connection._shut()
        eventually(lambda: ada._reconnector.current not in (None, old))
    while len([event for event in told if isinstance(event, Message)]) < 20:
        told.append(next(events))
    assert [event.offset for event in told if isinstance(event, Message)] == list(range(1, 21))
