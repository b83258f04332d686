from __future__ import annotations

import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import zmq

from parlour.broker import Broker, BrokerSettings
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.codec import decode_feed, decode_reply, decode_ticket, encode
from parlour.wire.control import (
    Assign,
    Assigned,
    Candidate,
    Decision,
    Decisions,
    Describe,
    Described,
    Drain,
    Enroll,
    Enrolled,
    Feed,
    FleetStatus,
    NodeList,
    NodeState,
    Order,
    Ordered,
    Rebalance,
    Refusal,
    Refused,
    Report,
    Request,
    Status,
    Transfer,
    Why,
)
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import PROTOCOL
from support.ports import free_ports
from support.waiting import MS, eventually

SETTINGS = BrokerSettings(bind="127.0.0.1:0")

INTERVAL = 100 * MS
"""The report interval of nodes that a test loses."""


def report(name: str, **fields: Any) -> Report:
    """Return a plausible report of the node; `fields` replace some of its values."""
    fields = {"instance": f"{name}-a", "address": f"{name}:1", "relay": f"{name}:2", "log": "L", **fields}
    return Report(node=name, **{"capacity": 1000, **fields})


class Opener:
    """Opens ZeroMQ sockets and keeps references, so that none is collected before it is closed."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.opened: list[zmq.Socket[bytes]] = []

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """Return a new socket of this kind."""
        self.opened.append(self.context.socket(kind))
        return self.opened[-1]


@pytest.fixture
def context() -> Iterator[Opener]:
    """Yield an opener whose sockets are closed after the test."""
    opener = Opener()
    yield opener
    opener.context.destroy(linger=0)


@pytest.fixture
def broker() -> Iterator[Broker]:
    """Run a broker on free ports."""
    service = Broker(SETTINGS)
    service.start()
    yield service
    service.stop()


def reply(broker: Broker, request: Request) -> Any:
    """Send one request to this broker and return the reply."""
    return ask([broker.address], request)[1]


def fleet(broker: Broker) -> dict[str, NodeState]:
    """Return the broker's status by node."""
    answer = reply(broker, Status())
    assert isinstance(answer, FleetStatus)
    return {state.report.node: state for state in answer.nodes}


class Ear:
    """A subscriber to the feed that has heard its first node list, so that no later publication is lost."""

    def __init__(self, context: Opener, broker: Broker, topic: bytes = b"") -> None:
        described = reply(broker, Describe())
        self.socket = context.socket(zmq.SUB)
        self.socket.subscribe(topic)
        self.socket.connect(f"tcp://127.0.0.1:{described.feed}")
        self.first = self.hear(lambda message: isinstance(message, NodeList))

    def hear(self, wanted: Callable[[Feed], bool]) -> Any:
        """Return the next publication that `wanted` accepts; its topic must be right."""
        deadline = time.monotonic() + 5000 * MS
        while self.socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            topic, body = self.socket.recv_multipart()
            message = decode_feed(body)
            assert topic.decode() == topic_of(message)
            if wanted(message):
                return message
        raise AssertionError("the feed did not bring what was waited for")


def topic_of(message: Feed) -> str:
    """Return the topic of a publication."""
    match message:
        case Report():
            return f"report.{message.node}"
        case Refusal():
            return f"refusal.{message.node}"
        case NodeList():
            return "roster"
        case Decision():
            return "decision"
        case Order():
            return f"order.{message.node}"


def publisher(context: Opener, broker: Broker) -> zmq.Socket[bytes]:
    """Return a node's PUB socket; messages sent before it is connected are lost."""
    pub = context.socket(zmq.PUB)
    pub.connect(f"tcp://127.0.0.1:{reply(broker, Describe()).reports}")
    return pub


def test_describe(broker: Broker) -> None:
    """A broker tells its ports, its version and its id."""
    described = reply(broker, Describe())
    assert isinstance(described, Described)
    assert described.protocol == PROTOCOL
    assert described.broker
    assert len({described.reports, described.feed, int(broker.address.rpartition(":")[2])}) == 3


def test_a_client_is_assigned(broker: Broker) -> None:
    """A client gets an enrolled node, and a ticket in its name that the node can decode."""
    assert reply(broker, Enroll(report("n1"))) == Enrolled()
    assigned = reply(broker, Assign(name="ada", room="lobby", protocol=PROTOCOL))
    assert isinstance(assigned, Assigned)
    assert (assigned.node, assigned.address, assigned.expires_in) == ("n1", "n1:1", 30.0)
    ticket = decode_ticket(assigned.ticket)
    assert (ticket.node, ticket.name) == ("n1", "ada")
    assert 0 < ticket.expires - time.time() <= 30
    assert fleet(broker)["n1"].pending == 1
    reply(broker, Enroll(report("n1", clients=1, redeemed=[ticket.id])))
    assert fleet(broker)["n1"].pending == 0


def test_why(broker: Broker) -> None:
    """A decision is explained by name and by room; nothing is known of other names."""
    reply(broker, Enroll(report("n1")))
    reply(broker, Assign(name="ada", room="lobby"))
    for subject in ("ada", "lobby"):
        (decision,) = reply(broker, Why(subject)).found
        assert (decision.name, decision.room, decision.node) == ("ada", "lobby", "n1")
        assert decision.reason == "the only node that can take a client"
        assert abs(decision.at - time.time() * 1000) < 5000
        assert decision.candidates[0].node == "n1"
        assert isinstance(decision.candidates[0], Candidate)
    assert reply(broker, Why("bob")) == Decisions(found=[])


@pytest.mark.parametrize(
    ("reports", "request_", "code", "words", "retry"),
    [
        ([], Assign(name="ada"), "no_node", "no chat node is alive: start one with `parlour node`", True),
        ([report("n1", capacity=0)], Assign(name="ada"), "full", "the only node cannot take a client", True),
        ([report("n1")], Assign(name="ada", node="n2"), "no_node", "there is no node named 'n2'", True),
        (
            [report("n1")],
            Assign(name="ada", protocol="2.0"),
            "bad_version",
            f"this side speaks protocol {PROTOCOL}",
            False,
        ),
        ([], Why("\u0316\u0301" * 10_000), "bad_request", "a name has 1 to 64 characters, this one has 20000", False),
        ([report("n1")], Enroll(report("n2", log="X")), "other_log", "node n2 uses another room log (X)", False),
        ([report("n1")], Enroll(report("n1", instance="b")), "name_taken", "a node named n1 is already", True),
    ],
)
def test_refusals(broker: Broker, reports: list[Report], request_: Request, code: str, words: str, retry: bool) -> None:
    """Each refusal has a code and one line of text, and a time to retry if a retry may help."""
    for each in reports:
        reply(broker, Enroll(each))
    with pytest.raises(RefusedError) as caught:
        reply(broker, request_)
    assert caught.value.code == code
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    assert (caught.value.retry_after is not None) == retry


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x81\xa4type\xa4what", encode(report("n1")), b"\xff" * 1000])
def test_junk_is_answered(broker: Broker, context: Opener, junk: bytes) -> None:
    """Bytes that are no request get a refusal, and the broker goes on."""
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://{broker.address}")
    dealer.send(junk)
    assert dealer.poll(int(5000 * MS * 1000))
    answer = decode_reply(dealer.recv())
    assert isinstance(answer, Refused)
    assert answer.code == "bad_request"
    assert isinstance(reply(broker, Describe()), Described)


def test_a_plain_req_is_answered(broker: Broker, context: Opener) -> None:
    """A REQ socket, whose messages begin with an empty frame, is served too."""
    req = context.socket(zmq.REQ)
    req.connect(f"tcp://{broker.address}")
    req.send(encode(Describe()))
    assert req.poll(int(5000 * MS * 1000))
    assert isinstance(decode_reply(req.recv()), Described)


def test_junk_on_the_other_ports(broker: Broker, context: Opener) -> None:
    """Random bytes on the reports' port, also over bare TCP, and odd subscriptions disturb nothing."""
    described = reply(broker, Describe())
    pub = publisher(context, broker)
    sub = context.socket(zmq.SUB)
    sub.subscribe(b"\x00\xff")
    sub.connect(f"tcp://127.0.0.1:{described.feed}")
    for port in (described.reports, described.feed, int(broker.address.rpartition(":")[2])):
        with sockets.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)

    def arrived() -> bool:
        pub.send_multipart([b"report.n1", b"\xc1"])
        pub.send(b"")
        pub.send_multipart([b"report.n1", encode(Describe())])
        pub.send_multipart([b"report.n1", encode(report("n1"))])
        return "n1" in fleet(broker)

    eventually(arrived, what="a good report after bad ones is taken")


def test_the_feed_hands_on_everything(broker: Broker, context: Opener) -> None:
    """Reports (by either way), refusals, node lists and decisions appear under their topics."""
    ear = Ear(context, broker)
    assert ear.first.nodes == []
    reply(broker, Enroll(report("n1", rooms=7)))
    assert ear.hear(lambda message: isinstance(message, Report)).rooms == 7
    roster = ear.hear(lambda message: isinstance(message, NodeList))
    assert [(peer.node, peer.instance, peer.relay) for peer in roster.nodes] == [("n1", "n1-a", "n1:2")]
    assert roster.settled is False
    reply(broker, Assign(name="ada"))
    assert ear.hear(lambda message: isinstance(message, Decision)).node == "n1"
    pub = publisher(context, broker)
    eventually(
        lambda: pub.send_multipart([b"", encode(report("n1", rooms=9))]) or fleet(broker)["n1"].report.rooms == 9
    )
    assert ear.hear(lambda message: isinstance(message, Report) and message.rooms == 9)
    pub.send_multipart([b"", encode(report("n2", log="X"))])
    refusal = ear.hear(lambda message: isinstance(message, Refusal))
    assert (refusal.node, refusal.instance, refusal.code) == ("n2", "n2-a", "other_log")
    pub.send_multipart([b"", encode(report("n1", stopping=True))])
    assert ear.hear(lambda message: isinstance(message, Report) and message.stopping)
    assert ear.hear(lambda message: isinstance(message, NodeList)).nodes == []


def test_a_stray_node_does_not_take_over(broker: Broker, context: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """The reports of a broker's first moments decide by their number; nodes that ask to join have no vote."""
    ear = Ear(context, broker)
    pub = publisher(context, broker)
    stray = encode(report("stray", log="X"))
    eventually(lambda: pub.send_multipart([b"", stray]) or list(fleet(broker)) == ["stray"])
    for name in ("m1", "m2", "m3"):
        with pytest.raises(RefusedError):
            reply(broker, Enroll(report(name, log="Y")))
    for name in ("n1", "n2", "n1"):
        pub.send_multipart([b"", encode(report(name))])
    eventually(lambda: {name for name, state in fleet(broker).items() if state.state == "ok"} == {"n1", "n2"})
    pub.send_multipart([b"", stray])
    refusal = ear.hear(lambda message: isinstance(message, Refusal) and message.node == "stray")
    assert "another room log (X) than the fleet of 2 (L)" in refusal.text
    eventually(lambda: refusal.text in caplog.text)  # the refusal is published before it is logged


def test_an_unsubscription_silences_nobody(broker: Broker, context: Opener) -> None:
    """Subscribers hear decisions although another peer unsubscribes that never had subscribed."""
    ear = Ear(context, broker)
    reply(broker, Enroll(report("n1")))
    with raw_subscriber(broker) as stray:
        stray.sendall(b"\0\1\0")  # frames of 1 and 7 bytes: ZeroMQ's unsubscription from everything,
        stray.sendall(b"\0\7\1roster")  # and a subscription; an answer to that shows that both were heard
        until(stray, b"roster")
        reply(broker, Assign(name="ada"))
        assert ear.hear(lambda message: isinstance(message, Decision)).node == "n1"


@contextmanager
def raw_subscriber(broker: Broker) -> Iterator[sockets.socket]:
    """Connect to the feed by bare TCP like a subscriber, to send what no library would send."""
    with sockets.create_connection(("127.0.0.1", reply(broker, Describe()).feed), timeout=5000 * MS) as peer:
        # A greeting of ZMTP 3.0 without security, and the command after it.
        ready = b"\5READY\x0bSocket-Type\0\0\0\3SUB"
        peer.sendall(b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(48) + bytes([4, len(ready)]) + ready)
        until(peer, b"XPUB")
        yield peer


def until(peer: sockets.socket, word: bytes) -> None:
    """Read until the word has arrived."""
    heard = b""
    while word not in heard:
        data = peer.recv(1000)
        assert data
        heard += data


def test_refusals_are_not_repeated_at_once(broker: Broker, context: Opener) -> None:
    """A node that insists is refused on the feed once a second, not at each report; another node is refused at once."""
    reply(broker, Enroll(report("n1")))
    ear = Ear(context, broker, b"r")
    for name in ("n2", "n2", "n2", "n3"):
        with pytest.raises(RefusedError):
            reply(broker, Enroll(report(name, log="X")))
    heard = [ear.hear(lambda message: isinstance(message, Refusal)).node for _ in range(2)]
    assert heard == ["n2", "n3"]


@pytest.mark.parametrize("topic", [b"", b"ros", b"roster"])
def test_a_new_subscriber_gets_the_node_list(broker: Broker, context: Opener, topic: bytes) -> None:
    """A new subscriber gets the node list at once, even if others have subscribed before."""
    reply(broker, Enroll(report("n1")))
    for _ in range(2):
        started = time.monotonic()
        assert [peer.node for peer in Ear(context, broker, topic).first.nodes] == ["n1"]
        assert time.monotonic() - started < SETTINGS.node_list_every / 2


def test_the_node_list_settles(context: Opener) -> None:
    """The list is repeated without a change, and is settled when the broker has run long enough."""
    service = Broker(replace(SETTINGS, node_list_every=50 * MS, settle=200 * MS))
    service.start()
    try:
        ear = Ear(context, service)
        assert ear.first.settled is False
        assert ear.hear(lambda message: isinstance(message, NodeList) and message.settled).nodes == []
    finally:
        service.stop()


def test_a_silent_node_leaves(broker: Broker, context: Opener) -> None:
    """A node that stops reporting leaves the list by itself, and no client is sent there."""
    ear = Ear(context, broker, b"roster")
    reply(broker, Enroll(report("n1", interval=INTERVAL)))
    assert ear.hear(lambda message: isinstance(message, NodeList) and bool(message.nodes))
    started = time.monotonic()
    assert ear.hear(lambda message: isinstance(message, NodeList) and not message.nodes)
    assert 2 * INTERVAL < time.monotonic() - started < 3 * INTERVAL + 1000 * MS
    assert fleet(broker)["n1"].state == "lost"
    with pytest.raises(RefusedError, match="no chat node is alive"):
        reply(broker, Assign(name="ada"))


def test_a_pause_of_the_broker_loses_no_node() -> None:
    """A broker that was paused longer than nodes may be silent still has its fleet."""
    pauses = [10 * INTERVAL]
    paused = threading.Event()

    class Pausing(Broker):
        def _poll_timeout(self) -> int:
            if len(self._balancer) and pauses:
                threading.Event().wait(pauses.pop())
                paused.set()
            return super()._poll_timeout()

    service = Pausing(replace(SETTINGS, pause=INTERVAL))
    service.start()
    try:
        reply(service, Enroll(report("n1", interval=INTERVAL)))
        assert paused.wait(5000 * MS)
        assert fleet(service)["n1"].state in ("ok", "late")
        eventually(lambda: fleet(service)["n1"].state == "lost")
    finally:
        service.stop()


def test_a_burst_of_300(broker: Broker, context: Opener) -> None:
    """Of 300 clients that ask within one report interval, over three nodes, no node gets more than 101."""
    for name in ("n1", "n2", "n3"):
        reply(broker, Enroll(report(name)))
    dealers = [context.socket(zmq.DEALER) for _ in range(10)]
    for dealer in dealers:
        dealer.connect(f"tcp://{broker.address}")
        for _ in range(30):
            dealer.send(encode(Assign(name="ada")))
    counts = {"n1": 0, "n2": 0, "n3": 0}
    for dealer in dealers:
        for _ in range(30):
            assert dealer.poll(int(5000 * MS * 1000))
            answer = decode_reply(dealer.recv())
            assert isinstance(answer, Assigned)
            counts[answer.node] += 1
    assert sum(counts.values()) == 300
    assert max(counts.values()) <= 101


def test_ticket_ids_differ(broker: Broker, context: Opener) -> None:
    """No two tickets have the same id, and each id has 64 random bits."""
    reply(broker, Enroll(report("n1", capacity=2000)))
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://{broker.address}")
    ids = set()
    for _ in range(1200):
        dealer.send(encode(Assign(name="ada")))
    for _ in range(1200):
        assert dealer.poll(int(5000 * MS * 1000))
        answer = decode_reply(dealer.recv())
        assert isinstance(answer, Assigned)
        ids.add(decode_ticket(answer.ticket).id)
    assert len(ids) == 1200
    assert {len(bytes.fromhex(each)) for each in ids} == {8}


def test_all_routing_frames_return(broker: Broker, context: Opener) -> None:
    """The reply to a request that passed other ROUTERs has all the frames that the request came with."""
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://{broker.address}")
    for way in ([], [b""], [b"one", b"two", b""]):
        dealer.send_multipart([*way, encode(Describe())])
        assert dealer.poll(int(5000 * MS * 1000))
        *back, answer = dealer.recv_multipart()
        assert back == way
        assert isinstance(decode_reply(answer), Described)


def test_drain(broker: Broker, context: Opener) -> None:
    """A node ordered to drain gets no more clients; the order is repeated until the node's reports show the drain."""
    pub = publisher(context, broker)
    for name in ("n1", "n2"):
        reply(broker, Enroll(report(name)))
    ear = Ear(context, broker, b"")
    told = Order(node="n1", instance="n1-a", drain=True, deadline=20.0)
    assert reply(broker, Drain("n1", 20.0)) == Ordered([told])
    assert ear.hear(lambda message: isinstance(message, Order)) == told
    assert fleet(broker)["n1"].state == "draining"
    assert {reply(broker, Assign(name="ada")).node for _ in range(3)} == {"n2"}
    eventually(lambda: pub.send_multipart([b"", encode(report("n1"))]) or ear.socket.poll(10))
    again = ear.hear(lambda message: isinstance(message, Order))
    assert (again.node, again.drain) == ("n1", True)
    assert 10 < again.deadline < 20
    eventually(
        lambda: pub.send_multipart([b"", encode(report("n1", draining=True))]) or fleet(broker)["n1"].report.draining
    )
    assert ear.hear(lambda message: isinstance(message, Report) and message.draining)
    reply(broker, Enroll(report("n1", draining=True, rooms=7)))
    reply(broker, Enroll(report("n2", rooms=7)))
    after: list[Feed] = []
    ear.hear(lambda message: after.append(message) or message == report("n2", rooms=7))  # type: ignore[func-returns-value]
    assert not [message for message in after if isinstance(message, Order)]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (Drain("n7"), "no_node", "there is no node named 'n7' in the fleet; its nodes: n1, n2"),
        (Drain("n1", -1.0), "bad_request", "a deadline must be 0 to 86400 seconds, not -1"),
        (Drain("n1", float("nan")), "bad_request", "not a message"),
    ],
)
def test_no_drain(broker: Broker, request_: Request, code: str, words: str) -> None:
    """An order that is not possible is refused in one line, and nothing changes."""
    for name in ("n2", "n1"):
        reply(broker, Enroll(report(name)))
    with pytest.raises(RefusedError, match=words) as caught:
        reply(broker, request_)
    assert (caught.value.code, caught.value.retry_after) == (code, None)
    assert {state.state for state in fleet(broker).values()} == {"ok"}


def test_rebalance(broker: Broker, context: Opener) -> None:
    """The moves are published to the nodes concerned; a plan goes only to the client that asked."""
    for name, clients in (("n1", 40), ("n2", 0)):
        reply(broker, Enroll(report(name, clients=clients)))
    ear = Ear(context, broker, b"")
    order = Order(node="n1", instance="n1-a", moves=[Transfer("n2", 20)])
    assert reply(broker, Rebalance(plan=True)) == Ordered([order])
    given = reply(broker, Rebalance()).orders[0]
    assert given == msgspec.structs.replace(order, id=given.id)
    assert ear.hear(lambda message: isinstance(message, Order)) == given
    assert reply(broker, Assign("ada", node="n2")).node == "n2"
    assert fleet(broker)["n2"].pending == 1
    reply(broker, Enroll(report("n1", clients=20, orders=[given.id])))
    reply(broker, Enroll(report("n2", clients=19)))
    assert reply(broker, Rebalance()) == Ordered([])
    heard: list[Feed] = []
    ear.hear(lambda message: heard.append(message) or message == report("n2", clients=19))  # type: ignore[func-returns-value]
    assert not [message for message in heard if isinstance(message, Order)]


def test_automatic_rebalance(context: Opener) -> None:
    """A broker with `--auto` keeps the fleet even by itself, once it knows all of it."""
    service = Broker(replace(SETTINGS, auto_rebalance=True, settle=100 * MS))
    service.start()
    try:
        ear = Ear(context, service, b"roster")
        ear.socket.unsubscribe(b"roster")
        ear.socket.subscribe(b"order.")

        def told() -> bool:
            for name, clients in (("n1", 40), ("n2", 0)):
                reply(service, Enroll(report(name, clients=clients, interval=INTERVAL)))
            return bool(ear.socket.poll(10))

        eventually(told, what="an order is given")
        assert ear.hear(lambda message: isinstance(message, Order)).moves == [Transfer("n2", 20)]
    finally:
        service.stop()


def test_a_storm_gives_turns(broker: Broker) -> None:
    """A client that comes back in a storm is told when to come, and is admitted then."""
    reply(broker, Enroll(report("n1", clients=500)))
    reply(broker, Enroll(report("n2", admits=1.0)))
    reply(broker, Enroll(report("n1", clients=500, stopping=True)))
    assert reply(broker, Assign("ada")).node == "n2"
    waits = []
    for name in ("bob", "carol"):
        with pytest.raises(RefusedError, match="500 clients of n1 are coming back") as caught:
            reply(broker, Assign(name))
        assert caught.value.code == "storm"
        waits.append(caught.value.retry_after or 0.0)
    assert 0.5 < waits[0] <= 1.0 < waits[1] <= 2.0


def test_a_restarted_broker_learns_from_reports(context: Opener) -> None:
    """Nodes that go on reporting to the same port are the fleet of the next broker there."""
    base = free_ports()
    settings = replace(SETTINGS, bind=f"127.0.0.1:{base}")
    pub = context.socket(zmq.PUB)
    pub.connect(f"tcp://127.0.0.1:{base + 1}")
    identities = set()
    for _ in range(2):
        service = Broker(settings)
        service.start()
        try:
            identities.add(reply(service, Describe()).broker)

            def whole(service: Broker = service) -> bool:
                for name in ("n1", "n2"):
                    pub.send_multipart([b"", encode(report(name, clients=5))])
                return fleet(service).keys() == {"n1", "n2"}

            eventually(whole, what="both nodes are in the fleet")
            assert reply(service, Assign(name="ada")).node in ("n1", "n2")
        finally:
            service.stop()
    assert len(identities) == 2


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_port_in_use_is_named(offset: int) -> None:
    """If one of the three ports is in use, `start` names it at once, in one line."""
    base = free_ports()
    with sockets.create_server(("127.0.0.1", base + offset)):
        service = Broker(replace(SETTINGS, bind=f"127.0.0.1:{base}"))
        with pytest.raises(ParlourError) as caught:
            service.start()
        service.stop()
    assert str(caught.value) == (
        f"port {base + offset} of 127.0.0.1 is in use, perhaps by a running broker (`parlour status` shows it): "
        "choose another --bind"
    )


@pytest.mark.parametrize(
    ("bind", "error", "words"),
    [
        ("127.0.0.1:65534", UsageError, "--bind takes port 65533 at most"),
        ("203.0.113.1:0", ParlourError, "203.0.113.1 is not an address of this machine: give one that is"),
        ("no-such-host.invalid:0", ParlourError, "there is no host 'no-such-host.invalid' to listen at"),
    ],
)
def test_wrong_addresses(bind: str, error: type[Exception], words: str) -> None:
    """An address where the broker cannot listen gives a one-line error that says what to change."""
    service = Broker(replace(SETTINGS, bind=bind))
    with pytest.raises(error, match=words):
        service.start()
    service.stop()


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_other_hosts(host: str) -> None:
    """The broker may listen at a name and at all addresses, and tells its first port."""
    service = Broker(replace(SETTINGS, bind=f"{host}:0"))
    service.start()
    try:
        port = service.address.removeprefix(f"{host}:")
        assert isinstance(ask([f"127.0.0.1:{port}"], Describe())[1], Described)
    finally:
        service.stop()


def test_idle_brokers_sleep(context: Opener) -> None:
    """An idle broker wakes up only for its node list and the nodes' deadlines."""
    woken = 0

    class Watched(Broker):
        def _poll_timeout(self) -> int:
            nonlocal woken
            woken += 1
            return super()._poll_timeout()

    service = Watched(replace(SETTINGS, node_list_every=200 * MS))
    service.start()
    try:
        ear = Ear(context, service)
        reply(service, Enroll(report("n1", interval=60.0)))
        before = woken
        for _ in range(4):
            ear.hear(lambda message: isinstance(message, NodeList))
        # At most two for each node list: the poll may return a moment before its timeout.
        assert woken - before <= 10
    finally:
        service.stop()
