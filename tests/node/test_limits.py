"""A client that does too much is first slowed, then refused, then cut off; nobody else notices."""

from __future__ import annotations

import socket

import pytest

from parlour.directory.passwords import make_password
from parlour.node import NodeSettings
from parlour.node.clients import arrivals as arrivals_module
from parlour.node.clients import throttle as throttle_module
from parlour.node.clients.arrivals import HELLO, PASSWORD, Arrivals, limited_group
from parlour.node.clients.budget import BURST, OWED
from parlour.node.clients.limiter import Limiter
from parlour.node.clients.throttle import GUESTS, NICK, POST_BYTES, PRICES, SIP, SLOWEST, Throttle
from parlour.node.clients.transport import CHUNK
from parlour.node.people.refusal import RefusedClientError
from parlour.wire.asks import Ask
from parlour.wire.direct import account_identity, guest_identity
from parlour.wire.limits import parse_address
from parlour.wire.masks import address_group
from parlour.wire.messages import ClientMessage, Error, Hello, History, Join, NodeMessage, Ping, Say
from parlour.wire.people import Person
from parlour.wire.signin import Auth
from support.cluster import RawClient, cluster
from support.waiting import MS, eventually


class Client:
    """A client of a test, its throttle, and a clock that the test moves."""

    def __init__(self, limiter: Limiter | None = None, person: Person | None = None, rate: float = 10) -> None:
        """Throttle a guest, or this person."""
        self.now = 0.0
        self.limiter = limiter or Limiter(rate, lambda: self.now)
        self.person = person or Person("ada")
        self.told: list[Error] = []
        self.key = guest_identity("s1")
        self.throttle = Throttle(self.limiter, self, self._answer)

    @property
    def identity(self) -> str:
        """The identity of the person."""
        return account_identity(self.person.account) if self.person.account else self.key

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


def test_guests_at_an_address_share_a_budget() -> None:
    """A guest that comes again under other names gets no new budget each time; loopback has no such limit."""
    for address, most in (("192.0.2.7", 2 * GUESTS + 1), ("127.0.0.1", 50)):
        first = Client(person=Person("g0", address=address))
        admitted = 0
        for number in range(50):
            guest = Client(first.limiter, Person(f"g{number}", address=address))
            guest.key = f"guest/{number}"
            admitted += guest.posts(round(10 * BURST)) > 0
        assert admitted == most


def test_address_groups() -> None:
    """An IPv4 address counts by itself, one of IPv6 by its /64; loopback does not count."""
    for address, group in (
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("", ""),
    ):
        assert limited_group(address) == group, address


def test_sign_ins_of_an_address() -> None:
    """Sign-ins wait, then they are refused, for all connections of the address; other addresses do not notice."""
    now = 0.0
    arrivals = Arrivals(Limiter(0, lambda: now), 10.0, 1000)
    place = arrivals.come("192.0.2.7")
    for _ in range(19):
        assert place.sign_in(Auth("PLAIN")) == 0
    assert place.sign_in(Hello("ada", password="x")) == pytest.approx((20 * PASSWORD + 1 - 10 * BURST) / 10)
    assert place.sign_in(Hello("ada")) == pytest.approx((1 + HELLO) / 10)
    for _ in range(round(10 * OWED / PASSWORD)):
        place.sign_in(Hello("ada", password="x"))
    for try_again in (lambda: place.sign_in(Hello("ada")), lambda: arrivals.come("192.0.2.7")):
        with pytest.raises(RefusedClientError, match="connections and sign-ins come from your address") as error:
            try_again()
        assert (error.value.code, round(error.value.retry_after or 0)) == ("slow_down", 10)
    assert arrivals.come("192.0.2.8").sign_in(Hello("ada")) == 0
    now += 11
    assert place.sign_in(Hello("ada")) == 0
    assert Arrivals(Limiter(0), 0, 1000).come("192.0.2.7").sign_in(Hello("ada")) == 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loopback count as any other address."""
    monkeypatch.setattr(arrivals_module, "limited_group", address_group)
    monkeypatch.setattr(throttle_module, "limited_group", address_group)


@pytest.mark.usefixtures("counted")
def test_connections_of_an_address() -> None:
    """Connections that come too fast are told when to try again; those that go on are closed without a word."""
    with cluster(1, NodeSettings(address_rate=0.1)) as running:
        address = running.nodes[0].address
        first = [RawClient.unwelcomed(address) for _ in range(3)]
        with RawClient.unwelcomed(address) as fourth:
            error = fourth.get(Error)
        assert (error.code, error.fatal) == ("slow_down", True)
        assert 10 < (error.retry_after or 0) <= 20
        for client in first:
            client.close()

        def closed() -> bool:
            with socket.create_connection(parse_address(address), timeout=20_000 * MS) as attempt:
                try:
                    return attempt.recv(1) == b""
                except ConnectionResetError:
                    return True

        eventually(closed, 20)


@pytest.mark.usefixtures("counted")
def test_places_of_an_address() -> None:
    """An address has a tenth of the node's places at most, and gets a place again when it gives one up."""
    with cluster(1, NodeSettings(capacity=20)) as running:
        address = running.nodes[0].address
        first, second = RawClient.unwelcomed(address), RawClient.unwelcomed(address)
        with second, RawClient.unwelcomed(address) as third:
            error = third.get(Error)
            assert (error.code, error.text) == (
                "full",
                "your address has 2 connections to this node: close one, or ask for another node",
            )
            first.close()

            def admitted() -> bool:
                with RawClient.unwelcomed(address) as another:
                    another.send(Ping())
                    return another.get(Error).code == "no_hello"

            eventually(admitted, 20)
