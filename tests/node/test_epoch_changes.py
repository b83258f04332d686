"""The log is another one from one moment to the next, in the middle of what a node does with the one of before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from parlour.node import Node, NodeSettings
from parlour.node.log import Extent, LogError, Post
from parlour.wire.messages import Error, Join, Joined, Message, Say
from support.cluster import RawClient, cluster
from support.waiting import MS, eventually


def begin_anew(node: Node, *texts: str) -> None:
    """Put another log, which has these messages, in the place of the node's."""
    node.log.engine._shelves.clear()  # type: ignore[attr-defined]
    node.log.engine._epoch = "anew"  # type: ignore[attr-defined]
    if texts:
        node.log.append("lobby", [Post("s", number, "x", 1, text) for number, text in enumerate(texts, 1)])


@contextmanager
def held(node: Node, ask: str, thread: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Hold up the first answer that a thread gets from the log, until the block ends; gives whether it is held up."""
    real, begun, go = getattr(node.log, ask), threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        answer = real(*arguments)
        if threading.current_thread().name.startswith(thread) and not begun.is_set():
            begun.set()
            go.wait(10_000 * MS)
        return answer

    monkeypatch.setattr(node.log, ask, slow)
    try:
        yield begun.is_set
    finally:
        go.set()


def heard_until(client: RawClient, text: str) -> list[tuple[int, str]]:
    """Return offset and text of all messages up to that of a text; a `joined` is ("epoch", as of its `after`)."""
    found: list[tuple[int, str]] = []
    while True:
        while not client.heard:
            client.read()
        message = client.heard.pop(0)
        if isinstance(message, Joined):
            found.append((message.after, message.epoch))
        elif isinstance(message, Message):
            found.append((message.offset, message.text))
            if message.text == text:
                return found


def test_history_that_was_read_before_is_not_sent_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told of a new epoch gets what that has, though its place in the old one had the same number."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        (node,) = running.nodes
        node.log.append("lobby", [Post("s", number, "x", 1, f"old {number}") for number in range(1, 6)])
        ada.join("lobby")
        with held(node, "read", "n1-client", monkeypatch) as reading:
            bob.send(Join("lobby", after=0))
            eventually(reading)
            begin_anew(node)
            ada.say("lobby", "new 1", "new 2")
            assert ada.texts(2) == ["new 1", "new 2"]
        assert heard_until(bob, "new 2")[1:] == [(0, "anew"), (1, "new 1"), (2, "new 2")]


def test_a_hole_is_not_mended_with_what_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the relay lost is read from the log; that it became another meanwhile brings nothing of the old one."""
    with (
        cluster(2, NodeSettings(relay_loss=1.0)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        node = running.nodes[0]
        ada.say("lobby", *map(str, range(1, 6)))
        assert bob.texts(5) == ada.texts(5)
        with held(node, "read", "n2-worker", monkeypatch) as reading:
            ada.say("lobby", "old 6", "old 7")
            eventually(reading)
            begin_anew(node, "restored 1", "restored 2", "restored 3")
            bob.send(Say("lobby", 50, "new 4"))
            assert heard_until(bob, "new 4")[0] == (0, "anew")
        for number in range(5, 9):
            bob.send(Say("lobby", number, f"new {number}"))
        assert heard_until(bob, "new 8") == [(number, f"new {number}") for number in range(5, 9)]


def test_who_could_not_come_back_in_is_told_of_the_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A re-join fails on the log; a new epoch that began meanwhile is not missed, nor a message of it."""
    with cluster(1) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        (node,) = running.nodes
        ada.say("lobby", *map(str, range(1, 6)))
        assert ada.texts(5) == bob.texts(5)
        real, asked, go = node.log.extent, threading.Event(), threading.Event()

        def extent(room: str) -> Extent:
            if asked.is_set():
                return real(room)
            asked.set()
            go.wait(10_000 * MS)
            raise LogError("no answer came")

        monkeypatch.setattr(node.log, "extent", extent)
        bob.send(Join("lobby", after=0, epoch="another"))
        eventually(asked.is_set)
        begin_anew(node)
        ada.say("lobby", "a", "b", "c")
        assert ada.texts(3) == ["a", "b", "c"]
        go.set()
        assert bob.get(Error).code == "unavailable"
        ada.say("lobby", "d", "e", "f", "g")
        assert [text for _, text in heard_until(bob, "g")] == ["anew", *"abcdefg"]


def test_a_post_is_delivered_though_the_log_fails_right_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was logged in a new epoch, and who asks about that is not answered at once."""
    with cluster(1) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        (node,) = running.nodes
        ada.say("lobby", "one")
        assert ada.texts(1) == bob.texts(1)
        real, asked = node.log.extent, threading.Event()

        def extent(room: str) -> Extent:
            if asked.is_set():
                return real(room)
            asked.set()
            raise LogError("no answer came")

        monkeypatch.setattr(node.log, "extent", extent)
        begin_anew(node)
        ada.say("lobby", "two")
        for client in (ada, bob):
            assert heard_until(client, "two") == [(0, "anew"), (1, "two")]


def test_who_comes_in_shows_that_the_log_is_another() -> None:
    """Nobody says anything; who joins has the node ask the log, and all members are told what that has."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby")
        begin_anew(running.nodes[0], "restored")
        bob.send(Join("lobby", after=0, epoch="another"))
        for client in (ada, bob):
            assert heard_until(client, "restored")[-2:] == [(0, "anew"), (1, "restored")]
