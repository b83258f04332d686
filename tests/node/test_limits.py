"""A client that does too much is first slowed, then refused, then cut off; nobody else notices."""

from __future__ import annotations

import pytest

from parlour.directory.passwords import make_password
from parlour.node import NodeSettings
from parlour.node.clients.budget import BURST, OWED
from parlour.node.clients.limiter import Limiter
from parlour.node.clients.throttle import NICK, POST_BYTES, PRICES, SIP, SLOWEST, Throttle
from parlour.node.clients.transport import CHUNK
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.asks import Ask
from parlour.wire.direct import account_identity, guest_identity
from parlour.wire.messages import ClientMessage, Error, History, Join, NodeMessage, Ping, Say
from parlour.wire.people import Person
from support.cluster import RawClient, cluster
from support.waiting import MS


class Client:
    """A client of a test, its throttle, and a clock that the test moves."""

    def __init__(self, limiter: Limiter | None = None, person: Person | None = None, rate: float = 10) -> None:
        """Throttle a guest, or this person."""
        self.now = 0.0
        self.limiter = limiter or Limiter(rate, lambda: self.now)
        self.person = person or Person("ada")
        self.told: list[Error] = []
        self.throttle = Throttle(self.limiter, self, self._answer)

    @property
    def identity(self) -> str:
        """The identity of the person."""
        return account_identity(self.person.account) if self.person.account else guest_identity("s1")

    def _answer(self, message: NodeMessage) -> None:
        assert isinstance(message, Error)
        self.told.append(message)

    def do(self, *messages: ClientMessage | Error, size: int = 0) -> int:
        """Return how many of these messages are admitted."""
        return len(self.throttle.admit(list(messages), size))

    def posts(self, count: int, size: int = 0) -> int:
        """Return how many of so many posts, which come together, are admitted."""
        return self.do(*(Say("lobby", number, "x") for number in range(1, count + 1)), size=size)


def test_steps() -> None:
    """The burst is free; then reading waits, then posts are refused, then the connection ends."""
    client = Client()
    throttle = client.throttle
    assert client.posts(round(10 * BURST)) == 100
    assert (throttle.pause, throttle.sip) == (0, CHUNK)
    assert client.posts(5) == 5
    assert throttle.pause == pytest.approx(0.5)
    assert throttle.sip == SIP
    assert client.posts(round(10 * OWED)) == 100
    assert throttle.pause == SLOWEST
    assert client.do(Say("lobby", 7, "x"), Ping(), Join("den"), Ask(3, "whoami", {})) == 1  # the ping
    assert [(error.code, error.room, error.id, error.ask) for error in client.told] == [
        ("slow_down", "lobby", 7, None),
        ("slow_down", "den", None, None),
        ("slow_down", None, None, 3),
    ]
    assert [error.retry_after for error in client.told] == [pytest.approx(10.5)] * 3
    assert {error.text for error in client.told} == {
        "you are too fast: 10 posts a second are allowed, and other requests count as several posts: try again in 11 s"
    }
    client.now += 5
    client.posts(50)
    with pytest.raises(RefusedClientError) as cut:
        client.posts(100)
    assert cut.value.code == "flood"
    assert cut.value.retry_after == pytest.approx(5.5)
    client.now += 6
    assert client.posts(1) == 1
    client.now += 60
    assert client.posts(1) == 1
    assert (throttle.pause, throttle.sip) == (0, CHUNK)


def test_prices() -> None:
    """Whatever a client does costs as much as some posts: bytes, joins, pages, asks, and most of all another name."""
    for messages, size, price in (
        ([Say("lobby", 1, "x")], 0, 1),
        ([Say("lobby", 1, "x")], 8 * POST_BYTES, 8),
        ([Join("lobby"), History("lobby"), Ping()], 0, PRICES[Join] + PRICES[History]),
        ([Ask(1, "whois", {"name": "bob"})], 0, PRICES[Ask]),
        ([Ask(1, "nick", {"name": "bob"})], 0, PRICES[Ask] + NICK),
    ):
        client = Client(rate=100)
        client.posts(round(100 * BURST))
        client.do(*messages, size=size)
        assert client.throttle.pause == pytest.approx(price / 100)


def test_devices_share_a_budget() -> None:
    """All connections of an account have one budget; its own rate counts, which a new sign-in brings."""
    first = Client(person=Person("bot", "bot", rate=20.0))
    second = Client(first.limiter, Person("bot", "bot", rate=40.0))
    assert first.posts(round(20 * BURST)) == 200
    assert first.throttle.pause == 0
    second.posts(20)
    assert second.throttle.pause == pytest.approx(0.5)


def test_guest_becomes_an_account() -> None:
    """What counts is the budget of whoever the client is now."""
    client = Client()
    client.posts(round(10 * BURST) + 5)
    client.person = Person("ada", "ada", rate=100.0)
    assert client.posts(1000) == 1000
    assert client.throttle.pause == 0


def test_no_limit() -> None:
    """With the rate 0 nobody is asked anything."""
    client = Client(rate=0)
    assert client.posts(100_000, size=1 << 30) == 100_000
    assert client.throttle.pause == 0


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
