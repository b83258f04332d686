"""A client of protocol 1.0, made of its documents alone, in a room of today: nothing that is new breaks it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from parlour.node.log import RichPost
from parlour.runtime.broker_rpc import ask
from parlour.wire.control import Assign, Assigned, Peer
from parlour.wire.limits import parse_address
from parlour.wire.messages import Message, Say
from parlour.wire.relay import room_topic
from support.cluster import Cluster, RawClient, cluster, fleet
from support.otherpack import pack, unpack
from support.waiting import MS

FIELDS: dict[str, dict[str, type]] = {
    "welcome": {"node": str, "session": str, "protocol": str},
    "joined": {"room": str, "epoch": str, "offset": int, "after": int},
    "left": {"room": str},
    "message": {"room": str, "offset": int, "id": str, "by": str, "at": int, "text": str},
    "page": {"room": str, "epoch": str, "before": int, "after": int, "trimmed": int, "messages": list},
    "accepted": {"room": str, "id": int, "offset": int, "at": int},
    "members": {"room": str, "names": list, "count": int},
    "presence": {"room": str, "joined": list, "left": list, "count": int},
    "lagging": {},
    "error": {"code": str, "text": str},
    "move": {"node": str, "address": str, "ticket": str},
    "ping": {},
    "pong": {},
    "bye": {},
}
"""The messages of nodes in protocol 1.0, with the fields that are required in each."""


def check(message: Any) -> None:
    """Fail unless a client of 1.0 knows the message and finds all that it needs in it."""
    assert message.get("type") in FIELDS, message
    for field, kind in FIELDS[message["type"]].items():
        assert type(message.get(field)) is kind, (field, message)
    for inner in message["messages"] if message["type"] == "page" else ():
        check(inner)


@contextmanager
def json_client(running: Cluster, node: str, **join: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Join the lobby by JSON lines, without parlour's decoder; yield the messages of the room as they come."""
    address = next(state.report.address for state in fleet(running.address).nodes if state.report.node == node)
    hello, joins = {"type": "hello", "name": "ci"}, {"type": "join", "room": "lobby", **join}
    with socket.create_connection(parse_address(address), timeout=5000 * MS) as sock, sock.makefile("rb") as file:
        sock.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in (hello, joins)))
        messages = map(json.loads, file)
        while next(messages)["type"] != "joined":
            pass
        yield (message for message in messages if message["type"] == "message")


class OldClient:
    """A socket, four bytes of length, and another MessagePack library."""

    def __init__(self, address: str, name: str, ticket: str) -> None:
        self.socket = socket.create_connection(parse_address(address), timeout=5000 * MS)
        self._data = b""
        self._heard: list[dict[str, Any]] = []
        self.send({"type": "hello", "name": name, "ticket": ticket, "protocol": "1.0"})
        self.get("welcome")

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame."""
        body = pack(message)
        self.socket.sendall(len(body).to_bytes(4, "big") + body)

    def get(self, kind: str) -> dict[str, Any]:
        """Return the next message of a type, leaving the others; fails if one comes that 1.0 does not know."""
        while True:
            for index, message in enumerate(self._heard):
                if message["type"] == kind:
                    return self._heard.pop(index)
            data = self.socket.recv(1 << 16)
            assert data, "the node closed the connection"
            self._data += data
            while len(self._data) >= 4 and len(self._data) >= 4 + int.from_bytes(self._data[:4], "big"):
                end = 4 + int.from_bytes(self._data[:4], "big")
                message = unpack(self._data[4:end])
                check(message)
                self._heard.append(message)
                self._data = self._data[end:]

    def join(self, room: str, **fields: Any) -> None:
        """Join a room and wait until that is done."""
        self.send({"type": "join", "room": room, **fields})
        self.get("joined")

    def lines(self, count: int) -> list[tuple[int, str]]:
        """Return the offsets and texts of the next messages: what such a client shows."""
        return [(each["offset"], each["text"]) for each in [self.get("message") for _ in range(count)]]


@contextmanager
def old_client(running: Cluster, name: str, node: str) -> Iterator[OldClient]:
    """Connect such a client to a node by name."""
    _, reply = ask([running.address], Assign(name, node=node, protocol="1.0"))
    assert isinstance(reply, Assigned)
    client = OldClient(reply.address, name, reply.ticket)
    with client.socket:
        yield client


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Run a broker and two nodes."""
    with cluster(2) as started:
        yield started


POSTS = [
    Say("lobby", 1, "hello"),
    Say("lobby", 2, "waves", "action"),
    Say("lobby", 3, "built", "notice", data={"commit": "c6f5219", "parts": [1, None, {"deep": True}]}),
    Say("lobby", 4, "me too", ref=1),
    Say("lobby", 5, "hello!", "edit", 1),
    Say("lobby", 6, "👍", "react", 4),
]
"""A post of each kind but a deletion."""


def test_each_kind_is_a_line(running: Cluster) -> None:
    """An older client is sent every record and shows the text; of a deleted one a newcomer is sent `(deleted)`."""
    texts = [(offset, post.text) for offset, post in enumerate(POSTS, 1)]
    with RawClient(running.address, "ada", "n1") as ada, old_client(running, "bob", "n2") as bob:
        ada.join("lobby")
        bob.join("lobby")
        for post in POSTS:
            ada.send(post)
            ada.get(Message)
        assert bob.lines(len(POSTS)) == texts
        ada.send(Say("lobby", 7, "a slip", "redact", 1))
        assert bob.lines(1) == [(7, "a slip")]
        # Edits of a deleted record are deleted with it.
        left = [(1, "(deleted)"), *texts[1:4], (5, "(deleted)"), texts[5], (7, "a slip")]
        with old_client(running, "eve", "n1") as eve:
            eve.join("lobby", after=0)
            assert eve.lines(7) == left
            eve.send({"type": "history", "room": "lobby"})
            assert [(each["offset"], each["text"]) for each in eve.get("page")["messages"]] == left
            eve.send({"type": "say", "room": "lobby", "id": 1, "text": "what a lot of lines"})
            assert eve.lines(1) == bob.lines(1) == [(8, "what a lot of lines")]


def test_kinds_of_later_versions(running: Cluster) -> None:
    """Records of unknown kinds in the log are lines to clients of all versions."""
    log = running.nodes[0].log
    log.append("lobby", [RichPost("s", 1, "zoe", 5, "zoe sets the topic to tea", "topic", 0, "", {"topic": "tea"})])
    with (
        old_client(running, "bob", "n1") as bob,
        RawClient(running.address, "ada", "n2") as ada,
        json_client(running, "n1", after=0) as ci,
    ):
        bob.join("lobby", after=0)
        ada.join("lobby", after=0)
        assert bob.lines(1) == [(1, "zoe sets the topic to tea")]
        assert ada.get(Message).kind == "topic"
        assert next(ci)["kind"] == "topic"
        ada.say("lobby", "fine")
        assert bob.lines(1) == [(2, "fine")]


def test_fields_of_later_versions(running: Cluster) -> None:
    """What a later node adds to a record goes through this one unharmed: ignored by some, there for those who know."""
    later = {
        "type": "message",
        "room": "lobby",
        "offset": 1,
        "id": "s-1",
        "by": "zoe",
        "at": 5,
        "text": "zoe dances",
        "kind": "dance",
        "mood": {"deep": [1, None, "ja"]},
    }
    body = pack(later)
    with (
        zmq.Context() as context,
        context.socket(zmq.XPUB) as peer,
        old_client(running, "bob", "n1") as bob,
        RawClient(running.address, "ada", "n1") as ada,
        json_client(running, "n1") as ci,
    ):
        bob.join("lobby")
        ada.join("lobby")
        peer.linger = 0
        port = peer.bind_to_random_port("tcp://127.0.0.1")
        node = running.nodes[0]
        node._relay.set_peers([*node._relay.peers().values(), Peer("n3", "x", f"127.0.0.1:{port}")])
        assert peer.poll(round(5000 * MS * 1000))
        while peer.recv() != b"\1" + room_topic("lobby"):
            assert peer.poll(round(5000 * MS * 1000))
        epoch = node.log.extent("lobby").epoch
        head = {"type": "batch", "epoch": epoch, "first": 1, "last": 1, "state": [1]}
        peer.send_multipart([room_topic("lobby"), pack(head), len(body).to_bytes(4, "big") + body])
        assert bob.lines(1) == [(1, "zoe dances")]
        assert ada.get(Message).kind == "dance"
        assert next(ci) == later
