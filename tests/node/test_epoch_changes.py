"""The log is replaced by another one while a node works with it."""

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


def replace_log(node: Node, *texts: str) -> None:
    """Replace the node's log by another one that has these messages."""
    node.log.engine._shelves.clear()  # type: ignore[attr-defined]
    node.log.engine._epoch = "anew"  # type: ignore[attr-defined]
    if texts:
        node.log.append("lobby", [Post("s", number, "x", 1, text) for number, text in enumerate(texts, 1)])


@contextmanager
def held(node: Node, ask: str, thread: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Delay the log's first answer to a thread until the block ends; yield a test of whether it is delayed now."""
    real, begun, go = getattr(node.log.engine, ask), threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        answer = real(*arguments)
        if threading.current_thread().name.startswith(thread) and not begun.is_set():
            begun.set()
            go.wait(10_000 * MS)
        return answer

    monkeypatch.setattr(node.log.engine, ask, slow)
    try:
        yield begun.is_set
    finally:
        go.set()


def read_until(client: RawClient, text: str) -> list[tuple[int, str]]:
    """Return offset and text of all messages up to this text, and `after` and epoch of each `joined`."""
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


def test_old_history_is_not_sent_in_a_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that is told of a new epoch gets its messages, although its old position had the same number."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        (node,) = running.nodes
        node.log.append("lobby", [Post("s", number, "x", 1, f"old {number}") for number in range(1, 6)])
        ada.join("lobby")
        with held(node, "read", "n1-client", monkeypatch) as reading:
            bob.send(Join("lobby", after=0))
            eventually(reading)
            replace_log(node)
            ada.say("lobby", "new 1", "new 2")
            assert ada.texts(2) == ["new 1", "new 2"]
        assert read_until(bob, "new 2")[1:] == [(0, "anew"), (1, "new 1"), (2, "new 2")]


def test_hole_is_not_filled_from_the_old_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is replaced while a lost batch is read from it: no message of the old log is delivered."""
    with (
        cluster(2, NodeSettings(relay_loss=1.0)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        node = running.nodes[0]
        ada.say("lobby", *map(str, range(1, 6)))
        assert bob.texts(5) == ada.texts(5)
        with held(running.nodes[1], "read", "n2-worker", monkeypatch) as reading:
            ada.say("lobby", "old 6", "old 7")
            eventually(reading)
            replace_log(node, "restored 1", "restored 2", "restored 3")
            bob.send(Say("lobby", 50, "new 4"))
            assert read_until(bob, "new 4") == [(3, "anew"), (4, "new 4")]
        for number in range(5, 9):
            bob.send(Say("lobby", number, f"new {number}"))
        assert read_until(bob, "new 8") == [(number, f"new {number}") for number in range(5, 9)]


def test_failed_rejoin_does_not_hide_a_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second join fails because of the log; the member still learns of the new epoch and gets all its messages."""
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
        replace_log(node)
        ada.say("lobby", "a", "b", "c")
        assert ada.texts(3) == ["a", "b", "c"]
        go.set()
        assert bob.get(Error).code == "unavailable"
        ada.say("lobby", "d", "e", "f", "g")
        assert [text for _, text in read_until(bob, "g")] == ["anew", *"abcdefg"]


def test_post_is_delivered_although_the_log_fails_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The post was logged in a new epoch, and the next question about that epoch fails."""
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
        replace_log(node)
        ada.say("lobby", "two")
        for client in (ada, bob):
            assert read_until(client, "two") == [(0, "anew"), (1, "two")]


def test_join_reveals_a_replaced_log() -> None:
    """Without a post, a join makes the node ask the log, and all members get the messages of the new log."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby", history=10)
        replace_log(running.nodes[0], "restored")
        bob.send(Join("lobby", 10, after=0, epoch="another"))
        for client in (ada, bob):
            assert read_until(client, "restored")[-2:] == [(0, "anew"), (1, "restored")]


def test_members_continue_in_a_new_epoch() -> None:
    """The log goes on under a new epoch: a modern client gets new messages alone, an older client gets all."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        (node,) = running.nodes
        with RawClient(running.address, "old", protocol="1.0") as old:
            for client in (ada, bob, old):
                client.join("lobby", history=2)
            ada.say("lobby", *map(str, range(1, 6)))
            for client in (ada, bob, old):
                assert client.texts(5) == ["1", "2", "3", "4", "5"]
            node.log.engine._epoch = "anew"  # type: ignore[attr-defined]
            bob.say("lobby", "6")
            for client in (ada, bob):
                told = client.get(Joined)
                assert (told.epoch, told.after, told.offset, told.recovered) == ("anew", 5, 5, True)
                assert client.texts(1) == ["6"]
            assert read_until(old, "6") == [(0, "anew"), *((n, str(n)) for n in range(1, 7))]
            ada.say("lobby", "7")
            for client in (ada, bob, old):
                assert client.texts(1) == ["7"]
                assert not [heard for heard in client.heard if isinstance(heard, Joined | Message)]


def test_first_post_in_a_replaced_log() -> None:
    """No delivered message is in the new log: members get as much history as they asked for, and the new post."""
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby", history=2)
        bob.join("lobby")
        ada.say("lobby", "1", "2", "3")
        for client in (ada, bob):
            assert client.texts(3) == ["1", "2", "3"]
        replace_log(running.nodes[0], "a", "b", "c", "d", "e")
        bob.send(Say("lobby", 50, "new"))
        assert read_until(ada, "new") == [(3, "anew"), (4, "d"), (5, "e"), (6, "new")]
        assert read_until(bob, "new") == [(5, "anew"), (6, "new")]


@pytest.mark.parametrize(
    ("position", "protocol", "expected"),
    [
        ({"after": 7, "epoch": "old", "id": "s-7", "history": 2}, "1.1", (7, True)),
        ({"after": 7, "epoch": "old", "id": "t-7", "history": 2}, "1.1", (8, False)),
        ({"after": 7, "epoch": "old", "history": 2}, "1.1", (8, False)),
        ({"after": 17, "epoch": "old", "id": "s-17", "history": 100}, "1.1", (0, False)),
        ({"after": 0, "epoch": "old", "history": 2}, "1.1", (8, False)),
        ({"after": 7, "epoch": "old", "id": "s-7", "history": 2}, "1.0", (0, False)),
        ({"after": 7, "epoch": "memory", "id": "t-7", "history": 2}, "1.1", (7, True)),
    ],
    ids=["same message", "other message", "no id", "no such offset", "beginning", "1.0", "this epoch"],
)
def test_rejoin_continues_after_a_message_in_the_log(
    position: dict[str, object], protocol: str, expected: tuple[int, bool]
) -> None:
    """Only the same message proves that the log of a later epoch is the old one; else the client is a newcomer."""
    with cluster(1) as running:
        (node,) = running.nodes
        node.log.append("lobby", [Post("s", number, "x", 1, str(number)) for number in range(1, 11)])
        if position["epoch"] == "memory":
            position = {**position, "epoch": node.log.extent("lobby").epoch}
        with RawClient(running.address, "ada", protocol=protocol) as ada:
            joined = ada.join("lobby", **position)
            assert (joined.after, joined.recovered) == expected
            offsets = list(range(expected[0] + 1, 11))
            assert [ada.get(Message).offset for _ in offsets] == offsets


def test_joined_names_the_last_message() -> None:
    """A newcomer that asks for no history is told the id of the last message; an older client is not."""
    with cluster(1) as running:
        running.nodes[0].log.append("lobby", [Post("s", 1, "x", 1, "one")])
        with RawClient(running.address, "ada") as ada, RawClient(running.address, "old", protocol="1.0") as old:
            assert (ada.join("lobby").id, old.join("lobby").id) == ("s-1", "")
            assert ada.join("lobby", history=1).id == "", "the message that follows has the id"
            ada.say("lobby", "two")
            ada.texts(2)
            assert ada.join("lobby").id == f"{ada.session}-1"
