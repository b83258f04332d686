"""Clients that err, lie, or stay silent: each is told why, frees its thread, and disturbs no other client."""

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
def connection(running: Cluster) -> Iterator[socket.socket]:
    """Connect to the first node and send nothing yet."""
    with socket.create_connection(parse_address(running.nodes[0].address), timeout=5000 * MS) as sock:
        yield sock


def read_to_end(sock: socket.socket) -> list[NodeMessage]:
    """Return all messages until the node ends the connection."""
    decoder, heard = NodeDecoder(), list[NodeMessage]()
    while data := sock.recv(65536):
        heard += decoder.feed(data)
    return heard


def last_error(sock: socket.socket) -> Error:
    """Return the error that ended the connection."""
    error = read_to_end(sock)[-1]
    assert isinstance(error, Error)
    assert error.fatal
    return error


def still_serves(running: Cluster) -> None:
    """Check that two clients can talk, and that every thread of other clients is free again."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "still here")
        assert bob.get(Message).text == "still here"
        eventually(lambda: running.nodes[0].clients.connections() == 2, what="only ada and bob are connected")
    eventually(lambda: running.nodes[0].clients.connections() == 0, what="all clients are gone")


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
def test_junk_before_hello_gets_an_error(junk: str) -> None:
    """For anything but a hello, a frame says what is wrong, and the connection ends."""
    data, codes = JUNK[junk]
    with cluster(1, HASTY) as running:
        with connection(running) as sock:
            sock.sendall(data)
            assert last_error(sock).code in codes.split()
        still_serves(running)


def test_invalid_utf8_ends_the_connection() -> None:
    """A frame with broken text is answered, and the messages before it are handled."""
    with cluster(1) as running, running.clients("eve", "bob", room="lobby") as (eve, bob):
        good = frame(Say("lobby", 1, "good"))
        eve.socket.sendall(good + frame(Say("lobby", 2, "bad!")).replace(b"bad!", b"\xff\xfe\xfd\xfc"))
        assert bob.get(Message).text == "good"
        error = eve.get(Error)
        assert (error.code, error.fatal) == ("bad_frame", True)
        with pytest.raises(ConnectionError):
            eve.get(Welcome)


def test_messages_before_a_broken_frame_count() -> None:
    """Also if they came with the hello and the broken frame in one piece."""
    with cluster(1) as running:
        with connection(running) as sock:
            say = [frame(each) for each in (Hello("ada", protocol=PROTOCOL), Join("lobby"), Say("lobby", 1, "hello"))]
            sock.sendall(b"".join([*say, b"\0\0\0\1\xc1"]))
            heard = read_to_end(sock)
        assert isinstance(heard[0], Welcome)
        assert isinstance(heard[-1], Error)
        assert (heard[-1].code, heard[-1].fatal) == ("bad_frame", True)
        assert [message.text for message in running.nodes[0].log.read("lobby", 0, 10)] == ["hello"]
        still_serves(running)


def test_silent_newcomer_is_cut_off() -> None:
    """A connection without a complete hello ends at the deadline."""
    with cluster(1, HASTY) as running:
        with connection(running) as mute, connection(running) as half:
            half.sendall(frame(Hello("ada", "", PROTOCOL))[:9])
            assert last_error(mute).code == "no_hello"
            assert last_error(half).code == "no_hello"
        still_serves(running)


def test_dead_client_is_pinged_and_cut_off() -> None:
    """A silent client is pinged; it is closed if it does not answer, even within a frame, and stays if it answers."""
    with cluster(1, HASTY) as running, running.clients("dead", "alive", room="lobby") as (dead, alive):
        dead.socket.sendall(frame(Say("lobby", 1, "never finished"))[:10])
        for _ in range(6):
            alive.get(Ping)
            alive.send(Ping())
        error = dead.get(Error)
        assert (error.code, error.fatal) == ("silent", True)
        alive.say("lobby", "I am")
        assert alive.get(Message).text == "I am"


def test_dropped_connections_leave_nothing() -> None:
    """Five hundred connections break off in several states; no thread or connection is left of them."""
    with cluster(1) as running:
        for number in range(500):
            with connection(running) as sock:
                if number % 3 == 1:
                    sock.sendall(b"\0\0")
                elif number % 3 == 2:
                    sock.sendall(frame(Hello("ada", "x", PROTOCOL)))
        still_serves(running)


def no_client_is_counted(running: Cluster) -> bool:
    """Return whether the broker knows that all clients have left."""
    (node,) = fleet(running.address).nodes
    return node.report.clients + node.pending == 0


def test_full_node_refuses() -> None:
    """Beyond its capacity a node refuses clients with a time to retry; a client that leaves makes a place free."""
    with cluster(1, NodeSettings(capacity=2)) as running:
        with running.clients("ada", "bob"), connection(running) as third:
            error = last_error(third)
            assert (error.code, error.retry_after) == ("full", 1.0)
        eventually(lambda: no_client_is_counted(running))
        still_serves(running)


def test_reserved_files_stay_free() -> None:
    """A client that would take a reserved file is refused, so the node can still ask a broker and drain."""
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
    """Return a ticket from the broker."""
    _, assigned = ask([running.address], Assign(name, protocol=PROTOCOL))
    assert isinstance(assigned, Assigned)
    return assigned.ticket


def changed(ticket: str, **fields: object) -> str:
    """Return the ticket with fields changed."""
    old = decode_ticket(ticket)
    new = {"node": old.node, "name": old.name, "expires": old.expires, "id": old.id, **fields}
    return encode_ticket(Ticket(**new))  # type: ignore[arg-type]


def test_ticket_is_valid_once() -> None:
    """A used, expired, or broken ticket, or one for another name or node, is refused with advice."""
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
            with connection(running) as sock:
                sock.sendall(frame(Hello("ada", ticket, PROTOCOL)))
                error = last_error(sock)
                assert error.code == "bad_ticket"
                assert words in error.text
                assert "ask the broker" in error.text
        with connection(running) as first, connection(running) as second:
            first.sendall(frame(Hello("ada", good, PROTOCOL)))
            assert isinstance(next(iter(NodeDecoder().feed(first.recv(1000)))), Welcome)
            second.sendall(frame(Hello("ada", good, PROTOCOL)))
            assert "used before" in last_error(second).text


def test_too_many_rooms_is_an_error() -> None:
    """The client is told the limit, and stays in its rooms."""
    with cluster(1, NodeSettings(rooms_per_client=2)) as running, running.clients("ada") as (ada,):
        ada.join("one")
        ada.join("two")
        ada.send(Join("three"))
        assert ada.get(Error).code == "too_many_rooms"
        ada.say("two", "still in")
        assert ada.get(Message).text == "still in"


def test_client_with_unread_answers_is_cut_off() -> None:
    """Unread answers do not fill the node's memory."""
    with cluster(1, NodeSettings(unread_answers=10_000)) as running:
        running.nodes[0].log.append("lobby", [Post("s", 1, "bob", 1, "x" * 16_000)])
        with RawClient(running.address, "eve") as eve:
            eve.join("lobby")
            # A short request with a long answer soon fills the buffers of the system.
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                eve.socket.sendall(frame(Join("lobby", 1)) * 1_000_000)
        still_serves(running)


def test_stale_id_is_refused() -> None:
    """The log would have to search all records for a stale id; ids that a client may repeat are accepted."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        for number in (20_000, 10_001, 10_000, 1):
            ada.send(Say("lobby", number, str(number)))
        assert ada.texts(2) == ["20000", "10001"]
        for number in (10_000, 1):
            error = ada.get(Error)
            assert (error.code, error.id, error.retry_after, error.fatal) == ("stale_id", number, None, False)
