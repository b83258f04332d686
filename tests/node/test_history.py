"""A history of which only a part is kept: pages of it, and clients whose place in it is gone."""

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
"""A time after everything that is said here."""


def trim(running: Cluster, keep: int) -> None:
    """Have the log forget all but the last messages of the lobby."""
    assert not running.nodes[0].log.trim("lobby", keep, ALWAYS, 100_000)


def fill(running: Cluster, count: int, at: int = 1) -> None:
    """Log so many messages in the lobby, before anybody is there."""
    running.nodes[0].log.append("lobby", [Post("s", n, "eve", at, f"text {n}") for n in range(1, count + 1)])


def ago(minutes: int) -> int:
    """Return the time so many minutes ago, as the log has it."""
    return time.time_ns() // 1_000_000 - minutes * 60_000


def page(client: RawClient, **fields: int) -> tuple[int, int, list[int]]:
    """Ask for a page of the lobby; return its `after`, its `trimmed` and its messages' offsets."""
    client.send(History("lobby", **fields))
    answer = client.get(Page)
    return answer.after, answer.trimmed, [message.offset for message in answer.messages]


def test_history_is_paged_backwards_to_the_first_message_that_is_kept() -> None:
    """Each page ends where the one before began; nothing follows the first, and nothing is sent of the trimmed."""
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


def test_a_page_is_bounded_whatever_is_asked_for() -> None:
    """No client has the whole log read by one question."""
    with cluster() as running:
        fill(running, 300)
        with running.clients("ada", room="lobby") as (ada,):
            assert page(ada, limit=10**6) == (300 - PAGE, 0, list(range(301 - PAGE, 301)))


@pytest.mark.parametrize("seed", range(3))
def test_pages_are_full_and_follow_each_other(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the texts are, a page is encoded once, and holds what fits; together the pages are the whole room."""
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


def test_questions_without_end_are_refused() -> None:
    """Who asks on before it has an answer is refused what is too much, and answered again when it has waited."""
    with cluster() as running:
        fill(running, 5)
        with running.clients("ada", "bob", room="lobby") as (ada, bob):
            ada.send(*(History("lobby", limit=1) for _ in range(MAX_QUESTIONS + 5)))
            errors = [ada.get(Error) for _ in range(5)]
            assert {(error.code, error.room, error.fatal) for error in errors} == {
                ("too_many_questions", "lobby", False)
            }
            assert len([answer for answer in ada.heard if isinstance(answer, Page)]) == MAX_QUESTIONS
            assert page(bob, limit=1) == (4, 0, [5]), "nobody else is kept from asking"
            eventually(lambda: _answered(ada), 5)
            ada.heard.clear()
            ada.send(*(History("lobby", limit=1) for _ in range(5000)))
            with pytest.raises(ConnectionError):
                _read_on(ada)
            last = [answer for answer in ada.heard if isinstance(answer, Error)][-1]
            assert (last.code, last.fatal) == ("too_many_questions", True)


def _read_on(client: RawClient) -> None:
    while True:
        client.read()


def _answered(client: RawClient) -> bool:
    client.send(History("lobby", limit=2))
    answer = client.get((Page, Error))  # type: ignore[arg-type, var-annotated]
    return isinstance(answer, Page)


def test_questions_of_who_is_gone_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crowds that ask for pages by the thousand, and read none, cost the node next to nothing."""
    with cluster() as running:
        (node,) = running.nodes
        node.log.append("lobby", [Post("s", n, "eve", 1, "x" * 10_000) for n in range(1, 101)])
        reads: list[int] = []
        real = node.log.read
        monkeypatch.setattr(node.log, "read", lambda *arguments: reads.append(1) or real(*arguments))  # type: ignore[func-returns-value]
        crowd = [RawClient(running.address, f"c{number}") for number in range(10)]
        for client in crowd:
            client.join("lobby")
        questions = b"".join(frame(History("lobby", before)) for before in range(2, 30_000))
        for client in crowd:
            client.socket.settimeout(2)
            try:
                client.socket.sendall(questions)
            except OSError:
                pass  # cut off before it had asked everything
            client.close()
        eventually(lambda: node.clients.clients == 0, 10, "all are gone")
        assert len(reads) <= 2 * MAX_QUESTIONS * len(crowd) + 20


def test_a_list_of_names_is_sent_once_for_many_questions() -> None:
    """Who asks a thousand times at once who is here is told; leaving at once, one is told before that."""
    with cluster() as running, running.clients("ada", room="lobby") as (ada,):
        ada.send(*(Who("lobby") for _ in range(1000)), Ping())
        ada.get(Pong)
        ada.send(Ping(), Who("lobby"), Leave("lobby"))
        ada.get(Left)
        lists = [heard for heard in ada.heard if isinstance(heard, Members)]
        assert 2 <= len(lists) <= 20
        assert isinstance(ada.heard[-1], Members)


def test_a_page_holds_what_goes_into_one_frame() -> None:
    """Of texts that are long together, the latest come, and `after` tells where to go on."""
    with cluster() as running:
        posts = [Post("s", number, "eve", 1, "x" * 16_000) for number in range(1, 11)]
        running.nodes[0].log.append("lobby", posts)
        with running.clients("ada", room="lobby") as (ada,):
            after, _, offsets = page(ada)
            assert offsets == list(range(after + 1, 11))
            assert 1 <= len(offsets) <= 4


def test_history_is_for_members() -> None:
    """Who is not in the room is told to join it."""
    with cluster() as running, running.clients("ada") as (ada,):
        ada.send(History("lobby"))
        assert ada.get(Error).code == "not_joined"


def test_a_place_behind_which_messages_are_gone_is_not_gone_on_from() -> None:
    """All that is kept follows, and the client is told: never a silent hole. A place within it is gone on from."""
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


def test_a_member_too_slow_for_what_is_kept_is_told(tmp_path: Path) -> None:
    """While it did not read, what comes next for it was trimmed: it goes on behind that, without a further hole."""
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


def test_a_node_that_missed_what_is_gone_tells_its_members() -> None:
    """The relay lost it and the log has forgotten it: the room goes on, and its members know what happened."""
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
def test_a_node_has_the_log_forget(retention: str, left: int) -> None:
    """By count and by age, while nobody is in the room."""
    settings = NodeSettings(retention=Retention.parse(retention), trim_interval=20 * MS)
    with cluster(settings=settings) as running:
        log = running.nodes[0].log
        ages = [200, 150, 130, 90, 80, 70, 61, 50, 40, 30, 20]  # in minutes
        log.append("lobby", [Post("s", n, "eve", ago(age), "") for n, age in enumerate(ages, 1)])
        eventually(lambda: log.extent("lobby").trimmed == len(ages) - left, what="the room is trimmed")


def test_what_is_recent_is_kept_whatever_the_count() -> None:
    """A post that is sent again must be known, or it would be said twice."""
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
def test_what_to_keep_is_read(text: str, kept: Retention) -> None:
    """A count, an age, or both."""
    assert Retention.parse(text) == kept


@pytest.mark.parametrize("text", ["", ",", "10,", ",1d", "1d,10", "ten", "5m", "-1", "1.5d", "10 1d", "1w", "1010d,"])
def test_what_is_no_retention_is_refused(text: str) -> None:
    """With a line that says how to write one."""
    with pytest.raises(UsageError):
        Retention.parse(text)


def test_joining_asks_the_log_only_where_the_ring_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands who come back at once, each a few messages behind, are not thousands of questions to the log."""
    with cluster() as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "one", "two")
        ada.texts(2)
        log = running.nodes[0].log
        monkeypatch.setattr(log, "extent", None)
        assert bob.join("lobby", after=1).recovered
        bob.send(Join("lobby", history=1))
        assert bob.get(Joined).after == 1
