"""The advice of docs/protocol.md to authors of clients: ZMTP by hand, and the order of a room's frames."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from parlour.node import NodeSettings
from parlour.wire.limits import parse_address
from parlour.wire.messages import Join, Joined, Leave, Members, Message, NodeMessage
from support.cluster import Cluster, RawClient, cluster
from support.waiting import MS

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
QUESTION = msgspec.msgpack.encode({"type": "assign", "name": "ada"})
MAP = bytes([0, len(QUESTION)]) + QUESTION

OLD = 300
"""Messages in the room before the test joins."""

ROUNDS = 10


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Run a broker and a node."""
    with cluster() as started:
        yield started


def exactly(sock: socket.socket, size: int) -> bytes:
    """Read exactly `size` bytes; raises ConnectionError at the end."""
    data = b""
    while len(data) < size:
        if not (more := sock.recv(size - len(data))):
            raise ConnectionError("the broker closed the connection")
        data += more
    return data


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """Read a frame of ZMTP and return its flags and body."""
    flags = exactly(sock, 1)[0]
    size = int.from_bytes(exactly(sock, 8 if flags & 2 else 1), "big")
    return flags, exactly(sock, size)


def test_a_request_by_hand(running: Cluster) -> None:
    """The steps of section 2 get an answer: the greeting, READY for READY, then the map."""
    with socket.create_connection(parse_address(running.address), timeout=5000 * MS) as sock:
        sock.sendall(GREETING)
        theirs = exactly(sock, 64)
        assert theirs[10] >= 3
        assert theirs[12:16] == b"NULL"
        sock.sendall(READY)
        flags, body = read_frame(sock)
        assert flags & 4
        assert body.startswith(b"\x05READY")
        sock.sendall(MAP)
        while (answer := read_frame(sock))[0] & 4:
            pass
    reply: dict[str, Any] = msgspec.msgpack.decode(answer[1])
    assert (reply["type"], reply["node"]) == ("assigned", "n1")


def test_a_request_that_does_not_wait(running: Cluster) -> None:
    """Greeting, READY and map in one piece end the connection without an answer, as the page warns."""
    with socket.create_connection(parse_address(running.address), timeout=5000 * MS) as sock:
        sock.sendall(GREETING + READY + MAP)
        # The greeting has 64 bytes, and the broker ends the connection before it has sent them all.
        with pytest.raises(ConnectionError):
            exactly(sock, 64)


def test_the_order_after_a_join() -> None:
    """`joined` comes first, messages have no hole; members and presence come anywhere after `joined`.

    `members` may come twice: it also replaces a `presence` that was held back while the history was sent.
    """
    settings = NodeSettings(presence_interval=1 * MS)
    with cluster(2, settings) as running, running.clients("bob", room="lobby") as (bob,):
        bob.say("lobby", *map(str, range(OLD)))
        for number in range(ROUNDS):
            with running.clients("ada", "carol", "eve") as (ada, *others):
                for other in others:
                    other.send(Join("lobby"))
                ada.send(Join("lobby", history=OLD))
                bob.say("lobby", f"now {number}")
                for other in others:
                    other.send(Leave("lobby"))
                frames = until(ada, f"now {number}")
            first = frames[0]
            assert isinstance(first, Joined)
            offsets = [each.offset for each in frames if isinstance(each, Message)]
            assert offsets == list(range(first.after + 1, first.after + 1 + len(offsets)))


def until(client: RawClient, text: str) -> list[NodeMessage]:
    """Read until the client has this text and a list of members; return all messages after `welcome`."""
    while not any(isinstance(each, Members) for each in client.heard) or not any(
        isinstance(each, Message) and each.text == text for each in client.heard
    ):
        client.read()
    return client.heard
