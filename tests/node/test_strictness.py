"""Rights hold strictly: no record stands behind the record that forbids it, on whichever node it was said."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from parlour.node import NodeSettings
from parlour.node.clients.session import Session
from parlour.node.log import RoomLog
from parlour.node.log.opening import open_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.messages import Error, Hello, Join, Joined, Left, Message
from support.cluster import Cluster, RawClient, cluster
from support.redis_server import MISSING, SYNCED, redis_server
from support.waiting import MS

ROOM = "lobby"

SPEAKERS = [f"s{number}" for number in range(10)]

TIME = 4.0
"""Seconds for which all speak, scaled."""

TAKES_BACK = {"unban": "ban", "unmute": "mute"}


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


def violations(log: RoomLog) -> tuple[list[Message], Counter[str]]:
    """Return the records of people who were banned or muted then, and how many records of each kind there are."""
    found: list[Message] = []
    kinds: Counter[str] = Counter()
    forbidden: dict[str, set[str]] = {"ban": set(), "mute": set()}
    after = 0
    while page := log.read(ROOM, after, 1000):
        after = page[-1].offset
        for message in page:
            kinds[message.kind] += 1
            who = message.data.get("who", "")
            if message.kind in forbidden:
                forbidden[message.kind].add(who)
            elif message.kind in TAKES_BACK:
                forbidden[TAKES_BACK[message.kind]].discard(who)
            elif message.by in forbidden["ban"] | forbidden["mute"]:
                found.append(message)
    return found, kinds


class Speaker:
    """Speaks as fast as it can, and comes back when it was shown out."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.refused: Counter[str] = Counter()

    def speak(self, done: threading.Event) -> None:
        """Post in bursts until the event is set, each time the last burst is answered."""
        client, inside, waiting = self.client, True, 0
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


def moderate(client: RawClient, done: threading.Event, seed: int) -> None:
    """Ban, mute and pardon speakers at random until the event is set; then pardon all."""
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
            if isinstance(message, Message) and message.id == f"{client.session}-{number}":
                client.heard.clear()
                return
            if isinstance(message, Error) and message.id == number:
                client.heard.clear()
                return


@contextmanager
def signed_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let everybody be signed in to the account of the same name."""
    real = Session.welcome

    def welcome(session: Session, hello: Hello) -> None:
        real(session, hello)
        session.person = replace(session.person, account=session.name)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "welcome", welcome)
        yield


def play(running: Cluster) -> Counter[str]:
    """Have ten people speak and two moderate, on three nodes; return how often people were refused, by code."""
    done = threading.Event()
    with running.clients("m1", "m2", *SPEAKERS) as (first, second, *others):
        first.join(ROOM)
        change(first, "role", "m2", role="operator")
        for client in (second, *others):
            client.join(ROOM)
        speakers = [Speaker(client) for client in others]
        threads = [
            *(spawn(f"speaks-{speaker.client.name}", speaker.speak, done) for speaker in speakers),
            *(spawn(f"moderates-{seed}", moderate, client, done, seed) for seed, client in enumerate((first, second))),
        ]
        done.wait(TIME * 1000 * MS)
        done.set()
        join_all(threads, 20)
        return sum((speaker.refused for speaker in speakers), Counter())


@pytest.mark.parametrize("loss", [0.0, 0.5], ids=["relay", "lossy"])
def test_no_record_stands_behind_its_ban(url: str, loss: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten people speak on three nodes while two moderators on two nodes ban, mute and pardon them."""
    settings = NodeSettings(log=url, relay_loss=loss, presence_interval=50 * MS)
    with signed_in(monkeypatch), cluster(3, settings) as running:
        refused = play(running)
    with closing(open_log(url)) as log:
        found, kinds = violations(log)
    assert found == []
    assert kinds["ban"] > 3
    assert kinds["mute"] > 3
    assert kinds[""] > 100
    assert refused["forbidden"]
    assert refused["banned"]
