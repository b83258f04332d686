"""Rights hold strictly: no record stands behind the record that forbids it, on whichever node it was said."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from parlour.chaos.forbidden import forbidden_records
from parlour.directory.directory import Directory
from parlour.directory.opening import open_store
from parlour.node import NodeSettings
from parlour.node.log import RoomLog
from parlour.node.log.opening import open_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.errors import ParlourError
from parlour.wire.messages import Error, Join, Joined, Left, Message
from support.accounts import token_of
from support.cluster import RawClient, cluster
from support.ports import free_ports
from support.processes import processes
from support.redis_server import MISSING, SYNCED, redis_server
from support.waiting import MS, eventually

ROOM = "lobby"

SPEAKERS = [f"s{number}" for number in range(10)]

TIME = 4.0
"""Seconds for which all speak, scaled."""


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty room log."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/log.sqlite"
        return
    if MISSING:
        pytest.skip(MISSING)
    with redis_server(tmp_path, *SYNCED) as server:
        yield server.url


def records_of(log: RoomLog) -> list[Message]:
    """Return all records of the room."""
    found: list[Message] = []
    while page := log.read(ROOM, found[-1].offset if found else 0, 1000):
        found += page
    return found


Entrance = Callable[[str, str], RawClient]
"""Connects somebody who has an account, by name, to a node."""


class Speaker:
    """Speaks as fast as it can, and comes back when it was shown out or its node is gone."""

    def __init__(self, name: str, node: str, enter: Entrance) -> None:
        self.name = name
        self.refused: Counter[str] = Counter()
        self._enter = enter
        self._client = enter(name, node)
        self._client.join(ROOM)

    def speak(self, done: threading.Event) -> None:
        """Post in bursts until the event is set, each time the last burst is answered."""
        while not done.is_set():
            try:
                self._speak(done)
            except OSError:
                self.refused["lost"] += 1
                self._client.close()
                self._client = reconnected(self.name, self._enter, done)
                self._client.send(Join(ROOM))
        self._client.close()

    def _speak(self, done: threading.Event) -> None:
        client, inside, waiting = self._client, True, 0
        while not done.is_set():
            if inside and waiting <= 0:
                client.say(ROOM, *["hello"] * 5)
                waiting = 5
            client.read()
            for message in client.heard:
                if isinstance(message, Message):
                    waiting -= message.id.startswith(f"{client.session}-")
                elif isinstance(message, Error) and message.id is not None:
                    waiting -= 1
                    self.refused[message.code] += 1
                elif isinstance(message, Left):
                    inside, waiting = False, 0
                    client.send(Join(ROOM))
                elif isinstance(message, Error):
                    self.refused[message.code] += 1
                    if not inside and not done.wait(20 * MS):
                        client.send(Join(ROOM))
                elif isinstance(message, Joined):
                    inside, waiting = True, 0
            client.heard.clear()


def reconnected(name: str, enter: Entrance, done: threading.Event) -> RawClient:
    """Return a client on one of the nodes that are left."""

    def attempt() -> RawClient | None:
        for node in ("n1", "n2"):
            try:
                return enter(name, node)
            except (ParlourError, OSError):
                done.wait(20 * MS)
        return None

    return eventually(attempt) or pytest.fail("no node takes the client")


def moderate(client: RawClient, done: threading.Event, seed: int) -> None:
    """Ban, mute and pardon speakers at random until the event is set."""
    chance = random.Random(seed)
    while not done.is_set():
        kind = chance.choice(["ban", "mute", "unban", "unmute", "unban", "unmute"])
        change(client, kind, chance.choice(SPEAKERS))


def change(client: RawClient, kind: str, who: str, **data: Any) -> None:
    """Post a state record, and wait until it is delivered or refused."""
    number = client.post(ROOM, "", kind, who=who, **data)
    while True:
        client.read()
        for message in client.heard:
            mine = isinstance(message, Message) and message.id == f"{client.session}-{number}"
            if mine or (isinstance(message, Error) and message.id == number):
                client.heard.clear()
                return


def play(enter: Entrance, trouble: Callable[[], object] = lambda: None) -> Counter[str]:
    """Have ten people speak and two moderate, on three nodes, and make trouble halfway.

    Returns how often people were refused, by the code of the error.
    """
    done = threading.Event()
    with enter("m1", "n1") as first, enter("m2", "n2") as second:
        first.join(ROOM)
        change(first, "role", "m2", role="operator")
        second.join(ROOM)
        speakers = [Speaker(name, f"n{number % 3 + 1}", enter) for number, name in enumerate(SPEAKERS)]
        threads = [
            *(spawn(f"speaks-{speaker.name}", speaker.speak, done) for speaker in speakers),
            *(spawn(f"moderates-{seed}", moderate, client, done, seed) for seed, client in enumerate((first, second))),
        ]
        done.wait(TIME * 500 * MS)
        trouble()
        done.wait(TIME * 500 * MS)
        done.set()
        join_all(threads, 30)
        return sum((speaker.refused for speaker in speakers), Counter())


def entrance(url: str, broker: str) -> Entrance:
    """Return a way in for people whose accounts stand beside the log at a URL."""
    with closing(open_store(url)) as store:
        directory = Directory(store)
        tokens = {name: token_of(directory, name) for name in ["m1", "m2", *SPEAKERS]}
    return lambda name, node: RawClient(broker, name, node, token=tokens[name], key=f"key of {name}")


def check(url: str, refused: Counter[str]) -> None:
    """Read the log alone: nobody who was banned or muted has a record, though many tried."""
    with closing(open_log(url)) as log:
        records = records_of(log)
    kinds = Counter(record.kind for record in records)
    assert forbidden_records(records) == []
    assert kinds["ban"]
    assert kinds["mute"]
    assert kinds[""] > 100
    assert refused["forbidden"]
    assert refused["banned"]


@pytest.mark.parametrize("loss", [0.0, 0.1], ids=["relay", "lossy"])
def test_no_record_stands_behind_its_ban(url: str, loss: float) -> None:
    """Ten people speak on three nodes while two moderators on two nodes ban, mute and pardon them."""
    settings = NodeSettings(log=url, relay_loss=loss, presence_interval=50 * MS)
    with cluster(3, settings) as running:
        refused = play(entrance(url, running.address))
    check(url, refused)


def test_a_killed_node_lets_nothing_through(url: str) -> None:
    """A node is killed in the midst of it; its clients come back elsewhere, and stay banned and muted."""
    with processes() as started:
        port = free_ports(3)
        broker = f"127.0.0.1:{port}"
        started.broker(port)
        nodes = [started.start("node", "--name", name, "--broker", broker, "--log", url) for name in ("n1", "n2", "n3")]
        refused = play(entrance(url, broker), lambda: started.kill(nodes[2]))
    assert refused["lost"]
    check(url, refused)
