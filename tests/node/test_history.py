"""Pages of history, trimming, and clients whose position was trimmed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from parlour.node import NodeSettings
from parlour.node.log import Post
from parlour.node.log.memory import MemoryLog
from parlour.node.log.retention import Retention
from parlour.node.rooms.history import PAGE, read_page
from parlour.wire.codec import NodeDecoder, frame
from parlour.wire.errors import UsageError
from parlour.wire.limits import MAX_FRAME, MAX_QUESTIONS, MAX_TEXT
from parlour.wire.messages import (
    Error,
    History,
    Join,
    Joined,
    Lagging,
    Leave,
    Left,
    Members,
    Message,
    Page,
    Ping,
    Pong,
    Who,
)
from support.cluster import Cluster, RawClient, cluster
from support.waiting import MS, eventually

ALWAYS = 2**53
"""A time after all messages of these tests."""


def trim(running: Cluster, keep: int) -> None:
    """Trim all but the last `keep` messages of the lobby."""
    assert not running.nodes[0].log.trim("lobby", keep, ALWAYS, 100_000)


def fill(running: Cluster, count: int, at: int = 1) -> None:
    """Log so many messages in the empty lobby."""
    running.nodes[0].log.append("lobby", [Post("s", n, "eve", at, f"text {n}") for n in range(1, count + 1)])


def ago(minutes: int) -> int:
    """Return the time so many minutes ago, in ms since the Unix epoch."""
    return time.time_ns() // 1_000_000 - minutes * 60_000


def page(client: RawClient, **fields: int) -> tuple[int, int, list[int]]:
    """Ask for a page of the lobby; return its `after`, its `trimmed` and its messages' offsets."""
    client.send(History("lobby", **fields))
    answer = client.get(Page)
    return answer.after, answer.trimmed, [message.offset for message in answer.messages]


def test_pages_reach_the_first_kept_message() -> None:
    """Each page ends where the one before began; no page has a trimmed message."""
    with cluster() as running:
        fill(running, 12)
        trim(running, 10)
        with running.clients("ada", room="lobby") as (ada,):
            assert page(ada, limit=4) == (8, 2, [9, 10, 11, 12])
            assert page(ada, limit=4, before=9) == (4, 2, [5, 6, 7, 8])
            assert page(ada, limit=4, before=5) == (2, 2, [3, 4])
            assert page(ada, limit=4, before=3) == (2, 2, [])
            assert page(ada, limit=4, before=1) == (0, 2, [])
            assert page(ada, limit=1, before=999) == (11, 2, [12])


def test_page_size_is_bounded() -> None:
    """No client can make the node read the whole log for one question."""
    with cluster() as running:
        fill(running, 300)
        with running.clients("ada", room="lobby") as (ada,):
            assert page(ada, limit=10**6) == (300 - PAGE, 0, list(range(301 - PAGE, 301)))


@pytest.mark.parametrize("seed", range(3))
def test_pages_are_full_and_consecutive(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any texts, a page is encoded once and holds all that fits; all pages together are the whole room."""
    chance = random.Random(seed)
    log = MemoryLog()
    letters = ["a", "é", "山", "😀"]
    for number in range(1, 301):
        text = chance.choice(letters) * chance.choice([0, 3, 100, MAX_TEXT // 4])
        log.append("Räume", [Post("s" * 16, number, "Zoë" * 20, 1_700_000_000_000, text)])
    encoded: list[int] = []
    monkeypatch.setattr("parlour.node.rooms.history.frame", lambda page: encoded.append(1) or frame(page))  # type: ignore[func-returns-value]
    before, seen, pages = 301, list[int](), 0
    while before > 1:
        data = read_page(log, History("Räume", before, 10**6))
        (answer,) = NodeDecoder().feed(data)
        assert isinstance(answer, Page)
        pages += 1
        seen[:0] = [message.offset for message in answer.messages]
        assert seen == list(range(answer.after + 1, 301))
        if answer.after and len(answer.messages) < PAGE:
            (missed,) = log.read("Räume", answer.after - 1, 1)
            assert len(data) + len(frame(missed)) > MAX_FRAME - 100 * (len(answer.messages) + 1)
        before = answer.after + 1
    assert len(encoded) == pages > 1


def test_too_many_questions_are_refused() -> None:
    """A client that does not wait for answers is refused, and is answered again after a pause."""
    with cluster() as running:
        fill(running, 5)
        with running.clients("ada", "bob", room="lobby") as (ada, bob):
            ada.send(*(History("lobby", limit=1) for _ in range(MAX_QUESTIONS + 5)))
            errors = [ada.get(Error) for _ in range(5)]
            assert {(error.code, error.room, error.fatal) for error in errors} == {
                ("too_many_questions", "lobby", False)
            }
            assert len([answer for answer in ada.heard if isinstance(answer, Page)]) == MAX_QUESTIONS
            assert page(bob, limit=1) == (4, 0, [5]), "other clients may still ask"
            eventually(lambda: _answered(ada))
            ada.heard.clear()
            ada.send(*(History("lobby", limit=1) for _ in range(5000)))
            with pytest.raises(ConnectionError):
                _read_until_closed(ada)
            last = [answer for answer in ada.heard if isinstance(answer, Error)][-1]
            assert (last.code, last.fatal) == ("too_many_questions", True)


def _read_until_closed(client: RawClient) -> None:
    while True:
        client.read()


def _answered(client: RawClient) -> bool:
    client.send(History("lobby", limit=2))
    answer = client.get((Page, Error))  # type: ignore[arg-type, var-annotated]
    return isinstance(answer, Page)


def test_questions_of_gone_clients_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask for thousands of pages and read none cost the node next to nothing."""
    with cluster() as running:
        (node,) = running.nodes
        node.log.append("lobby", [Post("s", n, "eve", 1, "x" * 10_000) for n in range(1, 101)])
        reads: list[int] = []
        real = node.log.read
        monkeypatch.setattr(node.log, "read", lambda *arguments: reads.append(1) or real(*arguments))  # type: ignore[func-returns-value]
        clients = [RawClient(running.address, f"c{number}") for number in range(10)]
        for client in clients:
            client.join("lobby")
        questions = b"".join(frame(History("lobby", before)) for before in range(2, 30_000))
        for client in clients:
            client.socket.settimeout(2)
            try:
                client.socket.sendall(questions)
            except OSError:
                pass  # the node cut the client off before it had asked everything
            client.close()
        eventually(lambda: node.clients.clients == 0, 10, "all clients are gone")
        assert len(reads) <= 2 * MAX_QUESTIONS * len(clients) + 20


def test_many_who_requests_get_few_lists() -> None:
    """A thousand requests at once get a few lists; a request right before `leave` is answered first."""
    with cluster() as running, running.clients("ada", room="lobby") as (ada,):
        ada.send(*(Who("lobby") for _ in range(1000)), Ping())
        ada.get(Pong)
        ada.send(Ping(), Who("lobby"), Leave("lobby"))
        ada.get(Left)
        lists = [heard for heard in ada.heard if isinstance(heard, Members)]
        assert 1 <= len(lists) <= 20  # several requests in a row may get one list
        assert isinstance(ada.heard[-1], Members)


def test_page_fits_into_one_frame() -> None:
    """If the texts are too long together, the latest come, and `after` tells where to continue."""
    with cluster() as running:
        posts = [Post("s", number, "eve", 1, "x" * 16_000) for number in range(1, 11)]
        running.nodes[0].log.append("lobby", posts)
        with running.clients("ada", room="lobby") as (ada,):
            after, _, offsets = page(ada)
            assert offsets == list(range(after + 1, 11))
            assert 1 <= len(offsets) <= 4


def test_history_needs_membership() -> None:
    """A client that is not in the room is told to join it."""
    with cluster() as running, running.clients("ada") as (ada,):
        ada.send(History("lobby"))
        assert ada.get(Error).code == "not_joined"


def test_trimmed_position_is_not_recovered() -> None:
    """After a trimmed position all kept messages follow, and the client is told; a kept position is recovered."""
    with cluster(settings=NodeSettings(ring_bytes=1)) as running, running.clients("ada") as (ada,):
        fill(running, 10)
        trim(running, 4)
        joined = ada.join("lobby", after=3)
        assert (joined.recovered, joined.after, joined.offset) == (False, 6, 10)
        assert ada.texts(4) == ["text 7", "text 8", "text 9", "text 10"]
        joined = ada.join("lobby", after=6)
        assert (joined.recovered, joined.after) == (True, 6)
        assert ada.texts(4)[0] == "text 7"
        joined = ada.join("lobby", history=9)
        assert (joined.recovered, joined.after) == (True, 6)


def test_slow_member_is_told_of_trimmed_messages(tmp_path: Path) -> None:
    """Its next messages were trimmed while it did not read: it continues behind them, without another hole."""
    with (
        cluster(1, NodeSettings(log=f"sqlite://{tmp_path}/log.sqlite")) as running,
        running.clients("ada", "sleeper", room="lobby") as (ada, sleeper),
    ):
        node, count = running.nodes[0], 0
        while not node.catchup.lagging:
            count += 100
            ada.say("lobby", *["x" * 8000] * 100)
            ada.texts(100)
        ada.say("lobby", *["x" * 8000] * 100)
        ada.texts(100)
        trim(running, 5)
        offset, gap = 0, None
        while offset < count + 100:
            message = sleeper.get((Joined, Message))  # type: ignore[arg-type, var-annotated]
            if isinstance(message, Joined):
                assert not message.recovered
                assert message.after > offset
                gap, offset = message, message.after
            else:
                assert message.offset == offset + 1
                offset = message.offset
        assert gap is not None
        assert any(isinstance(heard, Lagging) for heard in sleeper.heard)


def test_members_are_told_of_a_trimmed_hole() -> None:
    """The relay lost messages and the log trimmed them: the room goes on, and its members are told."""
    settings = NodeSettings(relay_loss=1.0, hole_wait=2000 * MS)
    with cluster(2, settings) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "one", "two", "three")
        ada.texts(3)
        trim(running, 1)
        told = bob.get(Joined)
        assert (told.recovered, told.after) == (False, 2)
        assert bob.texts(1) == ["three"]
        bob.say("lobby", "four")
        assert bob.texts(1) == ["four"]


@pytest.mark.parametrize(("retention", "left"), [("5", 5), ("1000,1h", 4), ("7,9d", 7), ("2h", 8)])
def test_trimming_by_count_and_age(retention: str, left: int) -> None:
    """The node trims by count and by age, while the room is empty."""
    settings = NodeSettings(retention=Retention.parse(retention), trim_interval=20 * MS)
    with cluster(settings=settings) as running:
        log = running.nodes[0].log
        ages = [200, 150, 130, 90, 80, 70, 61, 50, 40, 30, 20]  # in minutes
        log.append("lobby", [Post("s", n, "eve", ago(age), "") for n, age in enumerate(ages, 1)])
        eventually(lambda: log.extent("lobby").trimmed == len(ages) - left, what="the room is trimmed")


def test_recent_messages_are_kept() -> None:
    """A repeated post must be recognised, or it would be logged twice."""
    with cluster(settings=NodeSettings(retention=Retention(1), trim_interval=20 * MS)) as running:
        log = running.nodes[0].log
        log.append("lobby", [Post("s", n, "eve", ago(minutes), "") for n, minutes in enumerate([11, 9, 5, 0], 1)])
        eventually(lambda: log.extent("lobby").trimmed == 1)
        log.append("attic", [Post("s", n, "eve", ago(11), "") for n in range(3)])
        eventually(lambda: log.extent("attic").trimmed == 2)
        assert log.extent("lobby").trimmed == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("10000", Retention(10_000, None)),
        ("30d", Retention(None, 30 * 86_400)),
        ("90m", Retention(None, 5400)),
        ("0,12h", Retention(0, 43_200)),
    ],
)
def test_valid_retention(text: str, kept: Retention) -> None:
    """It is a count, an age, or both."""
    assert Retention.parse(text) == kept


@pytest.mark.parametrize("text", ["", ",", "10,", ",1d", "1d,10", "ten", "5m", "-1", "1.5d", "10 1d", "1w", "1010d,"])
def test_invalid_retention(text: str) -> None:
    """It raises a UsageError that says how to write one."""
    with pytest.raises(UsageError):
        Retention.parse(text)


def test_join_within_the_ring_does_not_ask_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of clients that come back, each a few messages behind, do not ask the log."""
    with cluster() as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "one", "two")
        ada.texts(2)
        log = running.nodes[0].log
        monkeypatch.setattr(log, "extent", None)
        assert bob.join("lobby", after=1).recovered
        bob.send(Join("lobby", history=1))
        assert bob.get(Joined).after == 1
