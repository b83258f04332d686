"""A member that does not read: other members do not notice, the node does not grow, and it loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from parlour.node import NodeSettings
from parlour.node.log import Post
from parlour.runtime.threads import join_all, spawn
from parlour.wire.messages import History, Lagging, Members, Message, Page, Ping, Pong, Presence
from support.cluster import RawClient, cluster
from support.waiting import eventually, poll

pytestmark = pytest.mark.usefixtures("dialect")


@pytest.fixture(params=["frames", "json"])
def dialect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test once with frames and once with JSON lines."""
    monkeypatch.setattr(RawClient, "lines", request.param == "json")


TEXT = "x" * 2000
COUNT = 10_000  # twenty megabytes: more than the sockets of a connection and the room's ring hold


def read_all(client: RawClient, count: int, into: list[int]) -> None:
    """Read messages and note their offsets."""
    for _ in range(count):
        into.append(client.get(Message).offset)


def next_names(client: RawClient) -> list[str]:
    """Return the names that the next message adds to the room; an empty list if it adds none."""
    while not client.heard:
        client.read()
    told = client.heard.pop(0)
    return told.names if isinstance(told, Members) else told.joined if isinstance(told, Presence) else []


def test_sleeping_member_misses_nothing(tmp_path: Path) -> None:
    """Others get everything while it sleeps; its node keeps little for it; later it gets all messages in order."""
    with cluster(1, NodeSettings(log=f"sqlite://{tmp_path}/log.sqlite")) as running:
        node = running.nodes[0]
        with running.clients("ada", "bob", "sleeper", room="lobby") as (ada, bob, sleeper):
            before = node.load.memory()
            seen: list[list[int]] = [[], []]
            readers = [spawn(f"reader-{i}", read_all, client, COUNT, seen[i]) for i, client in enumerate((ada, bob))]
            for _ in range(COUNT // 100):
                ada.say("lobby", *[TEXT] * 100)
            join_all(readers, 60)
            assert seen == [list(range(1, COUNT + 1))] * 2
            assert node.catchup.lagging == 1
            assert node.load.memory() - before < COUNT * len(TEXT) / 2
            late: list[int] = []
            read_all(sleeper, COUNT, late)
            assert late == list(range(1, COUNT + 1))
            assert any(isinstance(heard, Lagging) for heard in sleeper.heard)
            eventually(lambda: node.catchup.lagging == 0, what="the sleeper is live again")
            ada.say("lobby", "good morning")
            assert sleeper.get(Message).text == "good morning"


def test_lagging_member_that_leaves_is_forgotten() -> None:
    """Its connection ends while the catch-up thread watches it, and nothing of it stays."""
    with cluster(1) as running:
        node = running.nodes[0]
        with running.clients("ada", room="lobby") as (ada,):
            with running.clients("sleeper", room="lobby"):
                for _ in range(100):
                    ada.say("lobby", *[TEXT] * 100)
                eventually(lambda: node.catchup.lagging)
                read_all(ada, COUNT, [])
            eventually(lambda: node.catchup.lagging == 0)
            eventually(lambda: node.clients.connections() == 1)
            ada.say("lobby", "anybody?")
            assert ada.get(Message).text == "anybody?"


def test_lagging_member_gets_missed_presence() -> None:
    """A list of names replaces the presence frames that passed it by."""
    with cluster(1) as running, running.clients("ada", "sleeper", room="lobby") as (ada, sleeper):
        for _ in range(100):
            ada.say("lobby", *[TEXT] * 100)
        eventually(lambda: running.nodes[0].catchup.lagging == 2)
        with running.clients("newcomer", room="lobby"):
            read_all(ada, COUNT, [])
            read_all(sleeper, COUNT, [])
            eventually(lambda: "newcomer" in next_names(sleeper), what="the sleeper is told of the newcomer")


def test_slow_reader_may_ask() -> None:
    """A member with many unread messages may get some more answers without being cut off."""
    with cluster(1) as running, running.clients("ada", "sleeper", room="lobby") as (ada, sleeper):
        reader = spawn("reader", read_all, ada, COUNT, [])
        for _ in range(100):
            ada.say("lobby", *[TEXT] * 100)
        join_all([reader], 60)
        eventually(lambda: running.nodes[0].catchup.lagging == 1)
        sleeper.send(*[Ping()] * 100)
        read_all(sleeper, COUNT, [])
        for _ in range(100):
            sleeper.get(Pong)


def test_read_answers_do_not_count() -> None:
    """Only answers that are unread now count, not all answers since the member lagged."""
    with cluster(1, NodeSettings(unread_answers=100_000)) as running, running.clients("ada") as (ada,):
        for batch in range(100):
            posts = [Post("s", 100 * batch + number, "x", 1, "x" * 4000) for number in range(1, 101)]
            running.nodes[0].log.append("lobby", posts)
        ada.join("lobby", after=0)
        for _ in range(20):
            poll(lambda: False, 0.02)  # until the connection is full
            ada.send(History("lobby"))
            ada.get(Page)
        read_all(ada, 10_000, [])
