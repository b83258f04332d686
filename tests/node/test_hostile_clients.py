"""Clients that err, lie, or say nothing: each is told why, frees its thread, and disturbs nobody."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from parlour.node import NodeSettings
from parlour.node.clients.listener import RESERVED_FILES
from parlour.node.log import Post
from parlour.runtime.broker_rpc import ask
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import NodeDecoder, decode_ticket, encode_ticket, frame
from parlour.wire.control import Assign, Assigned, Ticket
from parlour.wire.limits import PROTOCOL, parse_address
from parlour.wire.messages import Error, Hello, Join, Message, Move, NodeMessage, Ping, Say, Welcome
from support.cluster import Cluster, RawClient, cluster, fleet
from support.waiting import MS, eventually

HELLO_DEADLINE = 300 * MS

HASTY = NodeSettings(hello_deadline=HELLO_DEADLINE, ping_after=100 * MS, dead_after=350 * MS)


@contextmanager
def door(running: Cluster) -> Iterator[socket.socket]:
    """Connect to the first node and say nothing yet."""
    with socket.create_connection(parse_address(running.nodes[0].address), timeout=5000 * MS) as sock:
        yield sock


def read_to_end(sock: socket.socket) -> list[NodeMessage]:
    """Return all frames until the node ends the connection."""
    decoder, heard = NodeDecoder(), list[NodeMessage]()
    while data := sock.recv(65536):
        heard += decoder.feed(data)
    return heard


def last_error(sock: socket.socket) -> Error:
    """Return the error frame that the connection ended with."""
    error = read_to_end(sock)[-1]
    assert isinstance(error, Error)
    assert error.fatal
    return error


def still_serves(running: Cluster) -> None:
    """Two people can talk, and every thread that served others is free again."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "still here")
        assert bob.get(Message).text == "still here"
        eventually(lambda: running.nodes[0].clients.connections() == 2, what="only ada and bob are connected")
    eventually(lambda: running.nodes[0].clients.connections() == 0, what="everybody is gone")


JUNK = {
    "random bytes": (b"\0" + os.urandom(5) + os.urandom(2000), "bad_frame frame_too_large no_hello"),
    "4 GiB announced": (b"\xff\xff\xff\xff", "frame_too_large"),
    "one byte more than allowed": ((64 * 1024 + 1).to_bytes(4, "big"), "frame_too_large"),
    "not UTF-8": (
        b"\0\0\0\x10\x82\xa4type\xa5hello\xa4name\xa2\xff\xfe"[:4] + b"\x82\xa4type\xa5hello\xa4name",
        "bad_frame",
    ),
    "an empty frame": (b"\0\0\0\0", "bad_frame"),
    "not hello first": (frame(Ping()), "no_hello"),
    "a ticket that is none": (frame(Hello("ada", "x", PROTOCOL)), "bad_ticket"),
    "another version": (frame(Hello("ada", "", "2.0")), "bad_version"),
    "no version": (frame(Hello("ada", "", "")), "bad_version"),
}


@pytest.mark.parametrize("junk", JUNK)
def test_junk_before_the_hello_is_answered_with_an_error(junk: str) -> None:
    """Whatever comes instead of a hello, a frame says what is wrong, and the connection ends."""
    data, codes = JUNK[junk]
    with cluster(1, HASTY) as running:
        with door(running) as sock:
            sock.sendall(data)
            assert last_error(sock).code in codes.split()
        still_serves(running)


def test_text_that_is_not_utf8_ends_the_connection_with_an_error() -> None:
    """After a good hello, a frame with broken text is answered, and what came before it is carried out."""
    with cluster(1) as running, running.clients("eve", "bob", room="lobby") as (eve, bob):
        good = frame(Say("lobby", 1, "good"))
        eve.socket.sendall(good + frame(Say("lobby", 2, "bad!")).replace(b"bad!", b"\xff\xfe\xfd\xfc"))
        assert bob.get(Message).text == "good"
        error = eve.get(Error)
        assert (error.code, error.fatal) == ("bad_frame", True)
        with pytest.raises(ConnectionError):
            eve.get(Welcome)


def test_who_says_nothing_is_told_and_let_go() -> None:
    """A connection without a hello, or with half of one, ends at the deadline."""
    with cluster(1, HASTY) as running:
        with door(running) as mute, door(running) as half:
            half.sendall(frame(Hello("ada", "", PROTOCOL))[:9])
            assert last_error(mute).code == "no_hello"
            assert last_error(half).code == "no_hello"
        still_serves(running)


def test_a_dead_peer_is_asked_and_then_let_go() -> None:
    """Who is silent is pinged; who does not answer is closed, half a frame or not; who answers stays."""
    with cluster(1, HASTY) as running, running.clients("dead", "alive", room="lobby") as (dead, alive):
        dead.socket.sendall(frame(Say("lobby", 1, "never finished"))[:10])
        for _ in range(6):
            alive.get(Ping)
            alive.send(Ping())
        error = dead.get(Error)
        assert (error.code, error.fatal) == ("silent", True)
        alive.say("lobby", "I am")
        assert alive.get(Message).text == "I am"


def test_five_hundred_connections_that_come_and_go_leave_nothing() -> None:
    """They are dropped at once, in every state; the node serves on, with no thread or connection left of them."""
    with cluster(1) as running:
        for number in range(500):
            with door(running) as sock:
                if number % 3 == 1:
                    sock.sendall(b"\0\0")
                elif number % 3 == 2:
                    sock.sendall(frame(Hello("ada", "x", PROTOCOL)))
        still_serves(running)


def nobody_is_counted(running: Cluster) -> bool:
    """Whether the broker has heard that all clients left."""
    (node,) = fleet(running.address).nodes
    return node.report.clients + node.pending == 0


def test_a_full_node_sends_the_client_back() -> None:
    """Beyond its capacity a node refuses with a time to retry; when somebody leaves, there is place."""
    with cluster(1, NodeSettings(capacity=2)) as running:
        with running.clients("ada", "bob"), door(running) as third:
            error = last_error(third)
            assert (error.code, error.retry_after) == ("full", 1.0)
        eventually(lambda: nobody_is_counted(running))
        still_serves(running)


def test_clients_leave_the_node_open_files() -> None:
    """Who would take one of the last is refused, and the node can still ask a broker where its clients may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with cluster(2) as running, ExitStack() as closing:
        node = running.nodes[0]
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + RESERVED_FILES + 20, hard))
        closing.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        clients: list[RawClient] = []
        with suppress(ConnectionError):
            while len(clients) < 1000:
                clients.append(closing.enter_context(RawClient(running.address, f"client-{len(clients)}", "n1")))
        assert 0 < len(clients) < 1000
        drain = spawn("drain", node.drain, 20_000 * MS)
        for client in clients:
            assert client.get(Move).node == "n2"
            client.close()
        join_all([drain], 20)


def ticket_for(running: Cluster, name: str) -> str:
    """Return a ticket that the broker gave."""
    _, assigned = ask([running.address], Assign(name, protocol=PROTOCOL))
    assert isinstance(assigned, Assigned)
    return assigned.ticket


def changed(ticket: str, **fields: object) -> str:
    """Return the ticket with fields changed."""
    old = decode_ticket(ticket)
    new = {"node": old.node, "name": old.name, "expires": old.expires, "id": old.id, **fields}
    return encode_ticket(Ticket(**new))  # type: ignore[arg-type]


def test_a_ticket_lets_one_client_in_once() -> None:
    """Used before, expired, another's, for another node: each is refused with what to do."""
    with cluster(1) as running:
        good = ticket_for(running, "ada")
        bad = {
            "expired": changed(good, expires=1.0),
            "clock here differs": changed(good, expires=9e14),
            "is no ticket: ask": changed(good, expires=float("nan")),
            "is no ticket": changed(good, id="x" * 65),
            "for bob": changed(good, name="bob"),
            "for node n9": changed(good, node="n9"),
        }
        for words, ticket in bad.items():
            with door(running) as sock:
                sock.sendall(frame(Hello("ada", ticket, PROTOCOL)))
                error = last_error(sock)
                assert error.code == "bad_ticket"
                assert words in error.text
                assert "ask the broker" in error.text
        with door(running) as first, door(running) as second:
            first.sendall(frame(Hello("ada", good, PROTOCOL)))
            assert isinstance(next(iter(NodeDecoder().feed(first.recv(1000)))), Welcome)
            second.sendall(frame(Hello("ada", good, PROTOCOL)))
            assert "used before" in last_error(second).text


def test_asking_for_too_many_rooms_is_an_error_and_no_more() -> None:
    """The limit is told; the rooms that one is in stay."""
    with cluster(1, NodeSettings(rooms_per_client=2)) as running, running.clients("ada") as (ada,):
        ada.join("one")
        ada.join("two")
        ada.send(Join("three"))
        assert ada.get(Error).code == "too_many_rooms"
        ada.say("two", "still in")
        assert ada.get(Message).text == "still in"


def test_who_asks_without_reading_is_cut_off() -> None:
    """Answers that nobody reads do not fill the node's memory."""
    with cluster(1, NodeSettings(unread_answers=10_000)) as running:
        running.nodes[0].log.append("lobby", [Post("s", 1, "bob", 1, "x" * 16_000)])
        with RawClient(running.address, "eve") as eve:
            eve.join("lobby")
            # A short question with a long answer: what the system itself keeps for her is full soon.
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                eve.socket.sendall(frame(Join("lobby", 1)) * 1_000_000)
        still_serves(running)


def test_an_id_far_below_the_highest_is_refused() -> None:
    """It would have to be looked for in all that was logged; those that a client may send again are taken."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        for number in (20_000, 10_001, 10_000, 1):
            ada.send(Say("lobby", number, str(number)))
        assert ada.texts(2) == ["20000", "10001"]
        for number in (10_000, 1):
            error = ada.get(Error)
            assert (error.code, error.id, error.retry_after, error.fatal) == ("stale_id", number, None, False)
