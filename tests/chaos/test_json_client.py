"""The client of JSON lines: how it enters, and that it does what the protocol's page asks of a program."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parlour.chaos import json_connection
from parlour.chaos.json_client import Acknowledged, JsonClient
from parlour.chaos.records import Record
from parlour.chaos.requests import Door
from parlour.client.errors import DisconnectedError, NodeError
from support.cluster import Cluster
from support.waiting import MS, eventually

HOST = "127.0.0.1"


class Line:
    """The side of a node in one connection, driven by the test."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(5000 * MS)
        self._file = connection.makefile("rwb")

    def get(self, kind: str) -> dict[str, Any]:
        """Return the next message; fail if it has another type."""
        message: dict[str, Any] = json.loads(self._file.readline() or b"{}")
        assert message.get("type") == kind
        return message

    def send(self, kind: str, **fields: object) -> None:
        """Send a message."""
        self._file.write(json.dumps({"type": kind, **fields}).encode() + b"\n")
        self._file.flush()

    def joined(self, offset: int, **fields: object) -> None:
        """Tell that the room is joined behind this offset."""
        self.send("joined", **{"room": "lobby", "epoch": "e", "offset": offset, "after": offset, **fields})

    def message(self, offset: int, record_id: str = "", text: str = "hi") -> None:
        """Send a record of the room."""
        by = {"room": "lobby", "by": "bob", "at": 1}
        self.send("message", offset=offset, id=record_id or f"b-{offset}", text=text, **by)

    def welcome(self) -> dict[str, Any]:
        """Welcome the client and return its `join`."""
        self.hello = self.get("hello")
        self.send("welcome", node="n1", session="s", protocol="1.2")
        return self.get("join")

    def close(self) -> None:
        """Drop the connection."""
        self._file.close()
        self._connection.close()


class ByHand:
    """A node that the test drives, and a client that enters it."""

    def __init__(self, strict: bool = False) -> None:
        self.socket = socket.create_server((HOST, 0))
        self.socket.settimeout(5000 * MS)
        self.address = f"{HOST}:{self.socket.getsockname()[1]}"
        rooms = ["lobby"]
        nodes = {"n1": self.address}
        self.client = JsonClient(
            "ada", rooms, Door.NODE, (), nodes, proof={"token": "secret"}, strict=rooms if strict else ()
        )
        self.lines: list[Line] = []

    def accept(self) -> Line:
        """Return the next connection."""
        self.lines.append(Line(self.socket.accept()[0]))
        return self.lines[-1]

    def heard(self, count: int) -> list[int]:
        """Return the offsets of the client's next records."""
        return [record.offset for record in heard(self.client, count)]


def heard(client: JsonClient, count: int) -> list[Record]:
    """Return the next records of a client."""
    found: list[Record] = []

    def enough() -> bool:
        found.extend(record for _, record, _ in client.take())
        return len(found) >= count

    eventually(enough, 5, f"{count} records")
    return found


@contextmanager
def by_hand(strict: bool = False) -> Iterator[tuple[ByHand, Line]]:
    """Give a node that the test drives, and the connection of a client that has joined the lobby behind offset 3."""
    node = ByHand(strict)
    starting = threading.Thread(target=node.client.start)
    with node.socket:
        starting.start()
        try:
            line = node.accept()
            assert "after" not in line.welcome()
            line.joined(3, id="b-3")
            starting.join(5)
            yield node, line
        finally:
            node.client.stop()
            for line in node.lines:
                line.close()


@pytest.mark.parametrize("door", Door)
def test_client_enters_by_each_door(cluster: Cluster, door: Door) -> None:
    """With a ticket of a broker or a node, or without a ticket, the client posts and hears everything."""
    nodes = {node.name: node.address for node in cluster.nodes}
    client = JsonClient("ada", ["lobby", "attic"], door, [cluster.address], nodes)
    client.start()
    try:
        assert client.node in nodes
        said = client.post("lobby", "hi 船\u2028").result(5)
        again = client.post("lobby", "yes", ref=said.offset).result(5)
        records = heard(client, 2)
        assert [(record.id, record.offset) for record in records] == [said, again]
        assert (records[0].text, records[1].ref) == ("hi 船\u2028", said.offset)
        assert (client.returns, client.troubles) == (0, [])
    finally:
        client.stop()


def test_client_resumes() -> None:
    """It joins behind the last record that it took, and sends posts without an answer again with the same ids."""
    with by_hand() as (node, line):
        answers = [node.client.post("lobby", text) for text in ("one", "two")]
        said = [line.get("say"), line.get("say")]
        line.message(4)
        line.message(5, "s-1", "one")
        assert answers[0].result(5) == Acknowledged("s-1", 5)
        line.close()
        line = node.accept()
        join = line.welcome()
        assert (join["after"], join["epoch"], join["id"]) == (5, "e", "s-1")
        line.joined(6, after=5)
        assert line.get("say") == said[1]
        line.message(5, "s-1", "one")
        line.message(6)
        line.send("accepted", room="lobby", id=2, offset=4, at=1)
        assert answers[1].result(5) == Acknowledged("s-2", 4)
        assert node.heard(3) == [4, 5, 6]
        assert (node.client.returns, node.client.troubles) == (1, [])


def test_client_keeps_its_key() -> None:
    """It shows the same key on each connection, so that its session goes on."""
    with by_hand() as (node, line):
        hello = line.hello
        line.send("bye")
        line.close()
        line = node.accept()
        line.welcome()
        assert line.hello == hello
        assert len(hello["key"]) == 32
        assert hello["token"] == "secret"


def test_client_mends_a_hole() -> None:
    """If a record is missing, it joins again behind the last one, and skips all records until then."""
    with by_hand() as (node, line):
        line.message(4)
        line.message(6)
        line.message(7)
        assert line.get("join")["after"] == 4
        line.message(8)
        line.joined(8, after=4)
        for offset in (5, 6, 7, 8):
            line.message(offset)
        assert node.heard(5) == [4, 5, 6, 7, 8]


def test_client_repeats_what_is_refused_for_a_while() -> None:
    """It sends refused posts and joins again, unchanged; a post that is refused for good fails."""
    with by_hand() as (node, line):
        answer = node.client.post("lobby", "one", "edit", 2)
        said = line.get("say")
        assert (said["kind"], said["ref"]) == ("edit", 2)
        line.send("error", code="unavailable", text="the log is away", room="lobby", id=1, retry_after=0.01)
        assert line.get("say") == said
        line.message(5)
        join = line.get("join")
        line.send("error", code="unavailable", text="the log is away", room="lobby", retry_after=0.01)
        assert line.get("join") == join
        line.send("error", code="bad_ref", text="record 2 is deleted", room="lobby", id=1)
        with pytest.raises(NodeError, match="record 2 is deleted"):
            answer.result(5)
        assert node.client.troubles == []


def test_client_follows_a_move() -> None:
    """It goes on at the other node before it says bye to the first; if that node refuses it, it stays."""
    with by_hand() as (node, line):
        answer = node.client.post("lobby", "one")
        said = line.get("say")
        line.send("move", node="n2", address=node.address, ticket="stale")
        refusing = node.accept()
        assert refusing.get("hello")["ticket"] == "stale"
        refusing.send("error", code="bad_ticket", text="it has expired", fatal=True)
        refusing.close()
        line.send("ping")
        line.get("pong")
        line.send("move", node="n2", address=node.address, ticket="good")
        other = node.accept()
        assert other.welcome()["after"] == 3
        other.joined(3)
        assert other.get("say") == said
        line.get("bye")
        other.message(4, "s-1", "one")
        assert answer.result(5) == Acknowledged("s-1", 4)
        assert node.client.returns == 0


def test_client_says_bye() -> None:
    """A client that is stopped says bye, so that the node does not wait for it."""
    with by_hand() as (node, line):
        node.client.stop()
        line.get("bye")


def test_lost_position_is_a_trouble() -> None:
    """No log of a round forgets its end: a `joined` that is not recovered is a trouble, a new epoch alone is none."""
    with by_hand() as (node, line):
        line.joined(3, epoch="f")
        line.message(4)
        node.heard(1)
        assert node.client.troubles == []
        line.joined(1, epoch="g", after=0, recovered=False)
        line.message(1)
        node.heard(1)
        assert node.client.troubles == [("lobby", "it could not go on from its last message")]


def test_silent_node_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends a ping to a silent node; if nothing answers, it goes to another node."""
    monkeypatch.setattr(json_connection, "QUIET", 100 * MS)
    monkeypatch.setattr(json_connection, "SILENT", 300 * MS)
    with by_hand() as (node, line):
        line.get("ping")
        line.send("pong")
        line.get("ping")
        assert node.accept().welcome()["after"] == 3


def shown_out(line: Line) -> None:
    """Ban the client from the lobby, and refuse to let it in once."""
    line.send("error", code="banned", text="you are banned", room="lobby")
    line.send("left", room="lobby")
    assert line.get("join")["after"] == 3
    line.send("error", code="banned", text="you are banned", room="lobby")


def test_client_comes_back_to_a_strict_room() -> None:
    """It goes on behind its last record; a post that could not be sent meanwhile is known not to be logged."""
    with by_hand(strict=True) as (node, line):
        said = node.client.post("lobby", "one")
        line.get("say")
        shown_out(line)
        line.send("accepted", room="lobby", id=1, offset=3, at=1)
        assert said.result(5) == Acknowledged("s-1", 3)
        unsaid = node.client.post("lobby", "two")
        assert line.get("join")["after"] == 3
        line.send("error", code="banned", text="you are banned", room="lobby")
        with pytest.raises(NodeError, match="you are banned"):
            unsaid.result(5)
        line.get("join")
        line.joined(5, after=3)
        line.message(4)
        assert node.heard(1) == [4]
        assert node.client.troubles == []


def test_doubtful_post_is_not_told_refused() -> None:
    """A post that was sent before over another connection may be logged, also if it is refused now."""
    with by_hand(strict=True) as (node, line):
        one, two = (node.client.post("lobby", text) for text in ("one", "two"))
        line.get("say")
        line.get("say")
        line.close()
        line = node.accept()
        line.welcome()
        line.joined(3)
        line.get("say")
        line.send("error", code="forbidden", text="you are muted", room="lobby", id=1)
        with pytest.raises(DisconnectedError, match="you are muted; it may have been logged before"):
            one.result(5)
        line.close()
        line = node.accept()
        line.welcome()
        line.send("error", code="banned", text="you are banned", room="lobby")
        with pytest.raises(DisconnectedError, match="you are banned; it may have been logged before"):
            two.result(5)
        assert node.client.troubles == []


def test_shown_out_of_another_room_is_a_trouble() -> None:
    """Nobody is shown out of the other rooms of a round."""
    with by_hand() as (node, line):
        line.send("error", code="kicked", text="you were shown out", room="lobby")
        line.send("left", room="lobby")
        line.get("join")
        assert node.client.troubles == [("lobby", "kicked: you were shown out"), ("lobby", "it was shown out")]
