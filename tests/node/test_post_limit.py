"""A client that posts too fast is slowed, then refused, then cut off; nobody else notices."""

from __future__ import annotations

import pytest

from parlour.directory.passwords import make_password
from parlour.node import NodeSettings
from parlour.node.clients.postlimit import BURST, CUT_AT, REFUSED_AT, Budget, Budgets, PostLimit
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.messages import ClientMessage, Error, NodeMessage, Ping, Say
from support.cluster import RawClient, cluster
from support.waiting import MS


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def says(count: int) -> list[ClientMessage | Error]:
    """Return so many posts."""
    return [Say("lobby", number, "x") for number in range(1, count + 1)]


def test_steps() -> None:
    """The burst is free; then reading waits, then posts are refused, then the connection ends."""
    clock, told = Clock(), list[NodeMessage]()
    limit = PostLimit(Budget(10, clock), told.append)
    assert len(limit.admit(says(round(10 * BURST)))) == 100
    assert limit.pause == 0
    assert len(limit.admit(says(5))) == 5
    assert limit.pause == pytest.approx(0.5)
    assert len(limit.admit(says(round(10 * REFUSED_AT)))) == 100
    assert limit.admit([*says(2), Ping()]) == [Ping()]
    assert [(error.code, error.id) for error in told if isinstance(error, Error)] == [
        ("slow_down", 1),
        ("slow_down", 2),
    ]
    with pytest.raises(RefusedClientError) as cut:
        limit.admit(says(CUT_AT))
    assert cut.value.code == "flood"
    clock.now += 60
    assert len(limit.admit(says(1))) == 1
    assert limit.pause == 0


def test_steady_client_never_notices() -> None:
    """Thirty posts a second for a minute, in whatever pieces they come."""
    clock = Clock()
    limit = PostLimit(Budget(30, clock), lambda error: pytest.fail(str(error)))
    for _ in range(600):
        clock.now += 0.1
        assert len(limit.admit(says(3))) == 3
        assert limit.pause == 0


def test_devices_share_a_budget() -> None:
    """All sessions of a person at a node have one budget; the own rate counts before the node's."""
    budgets = Budgets(30)
    shared = budgets.of("account/ada", 0)
    assert budgets.of("account/ada", 0) is shared
    assert budgets.of("account/bot", 200).rate == 200
    assert len(PostLimit(Budget(0), lambda error: pytest.fail(str(error))).admit(says(10_000))) == 10_000


def test_flooder_is_cut_off() -> None:
    """A client that writes without end gets refusals and then the last error; the other one goes on."""
    with (
        cluster(1, NodeSettings(post_rate=20, presence_interval=50 * MS)) as running,
        running.clients("ada", room="lobby") as (ada,),
    ):
        with RawClient(running.address, "eve") as eve:
            eve.join("lobby")
            with pytest.raises(ConnectionError):  # noqa: PT012 - the node may end the connection at any of these
                while True:
                    eve.say("lobby", *["flood"] * 500)
                    eve.read()
        codes = {message.code for message in eve.heard if isinstance(message, Error)}
        assert codes <= {"slow_down", "flood"}
        ada.say("lobby", "calm")
        while ada.texts(1) != ["calm"]:
            pass


def test_account_may_have_a_rate_of_its_own() -> None:
    """A bot's account with a higher rate is not slowed."""
    with cluster(1, NodeSettings(post_rate=1, presence_interval=50 * MS)) as running:
        accounts = running.nodes[0].people.directory.accounts
        accounts.add("bot", make_password("open sesame"))
        accounts.change("bot", rate=10_000.0)
        with running.chat("bot", password="open sesame") as bot:
            room = bot.join("lobby")
            assert room.say("one").offset > 0
            posts = [room.post(str(number)) for number in range(100)]
            assert [post.result(10).text for post in posts] == [str(number) for number in range(100)]
