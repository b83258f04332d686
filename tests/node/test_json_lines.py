"""JSON lines at a node: the same rooms in the same order as with frames, and errors that help a person."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest

from parlour.node import NodeSettings
from parlour.node.clients.registry import MAX_ASKING
from parlour.wire.limits import MAX_FRAME, parse_address
from parlour.wire.messages import Error, Message, Say
from support.cluster import RawClient, cluster
from support.netcat import netcat
from support.waiting import MS, eventually

HELLO = {"type": "hello", "name": "ci"}


def test_both_dialects_see_one_order() -> None:
    """Members of both dialects on two nodes all post at once, and get the same records in the same order."""
    names = ("ada", "bob", "cy", "dee")
    with cluster(2) as running, running.clients(*names, room="lobby", mixed=True) as clients:
        for number in range(100):
            for client in clients:
                client.say("lobby", f"{client.name} {number} é😀\u2028\n\x00")
        heard = [[client.get(Message) for _ in range(400)] for client in clients]
        assert heard[0] == heard[1] == heard[2] == heard[3]
        assert [message.offset for message in heard[0]] == list(range(1, 401))
        assert clients[2].lines
        assert not clients[0].lines


def test_batch_is_encoded_once_per_variant() -> None:
    """For any number of members: frames at the sender's node, and JSON at each node with a member that speaks it."""
    names = [f"p{number}" for number in range(12)]
    with cluster(2) as running, running.clients(*names, room="lobby", mixed=True) as clients:
        here, there = running.nodes
        before = here.load.encodings, there.load.encodings
        for number in range(20):
            clients[0].say("lobby", f"{number}")
            for client in clients:
                client.get(Message)
        # An encoding is counted after it was sent.
        eventually(lambda: here.load.encodings - before[0] >= 40 and there.load.encodings - before[1] >= 20)
        assert (here.load.encodings - before[0], there.load.encodings - before[1]) == (40, 20)
        eventually(lambda: here.last_report is not None and here.last_report.encodings == here.load.encodings)


def test_ring_bounds_its_encodings() -> None:
    """Encodings are dropped before frames are, and made again for a member that needs them."""
    with (
        cluster(1, NodeSettings(ring_bytes=20_000)) as running,
        running.clients("ada", "bob", room="lobby", mixed=True) as (ada, bob),
    ):
        for number in range(100):
            ada.say("lobby", "x" * 1000)
            assert bob.get(Message).offset == number + 1
        room = running.nodes[0].rooms.get("lobby")
        assert room is not None
        ring = room._timeline._ring
        assert ring._extra <= 20_000
        assert sum(batch.extra for batch in ring._batches) <= 20_000
        with RawClient(running.address, "cy", lines=True) as cy:
            cy.join("lobby", history=100)
            assert [cy.get(Message).offset for _ in range(100)] == list(range(1, 101))


def test_hello_without_ticket() -> None:
    """A name is enough; messages in the same piece are handled, and answered before the connection ends."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        say = {"type": "say", "room": "builds", "id": 1, "text": "green"}
        nc.send(HELLO, {"type": "join", "room": "builds"}, say, {"type": "bye"})
        assert nc.get("message")["text"] == "green"
        while nc.read():
            pass
        assert running.nodes[0].log.extent("builds").top == 1


def test_last_post_is_answered_after_end_of_input() -> None:
    """A program that ends its output right after a post still gets the message."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send(HELLO, {"type": "join", "room": "builds"}, {"type": "say", "room": "builds", "id": 1, "text": "red"})
        nc.socket.shutdown(socket.SHUT_WR)
        assert nc.get("message")["text"] == "red"


WRONG: dict[str, tuple[object, str, str]] = {
    "no JSON": (b"hello\n", "bad_line", "line 2, character 1"),
    "half an object": (b'{"type":"ping"\n', "bad_line", "line 2"),
    "not UTF-8": (b'{"type":"join","room":"\xff"}\n', "bad_line", "line 2"),
    "unknown type": ({"type": "shout"}, "bad_line", "line 2"),
    "wrong type of a field": ({"type": "say", "room": "lobby", "id": "1", "text": "x"}, "bad_line", "$.id"),
    "invalid name": ({"type": "join", "room": "no such room"}, "bad_line", "white space"),
    "too deep": (b'{"type":"ping","x":' + b"[" * 60_000 + b"]" * 5 + b"}\n", "bad_line", "16 deep"),
    "second hello": (HELLO, "again", "say it once"),
    "room not joined": ({"type": "leave", "room": "attic"}, "not_joined", "not in attic: join"),
    "unknown kind": (
        {"type": "say", "room": "lobby", "id": 1, "text": "x", "kind": "pin"}, "bad_kind", "pin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_line_does_not_end_the_connection(name: str) -> None:
    """The answer says where the fault is; the node reads the next line as usual."""
    line, code, where = WRONG[name]
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send(HELLO)
        nc.get("welcome")
        if code == "bad_kind":
            nc.send({"type": "join", "room": "lobby"})
            nc.get("members")
        nc.send(line, {"type": "ping"})
        error = nc.get("error")
        assert (error["code"], where in error["text"], error.get("fatal")) == (code, True, None), error
        assert nc.get("pong")


def test_wrong_line_before_hello() -> None:
    """A wrong line before hello does not end the connection, and a valid hello then lets the client in."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send({"type": "join", "room": "lobby"}, b"what?\n", {"type": "hello", "name": ""})
        assert [nc.get("error")["code"] for _ in range(3)] == ["no_hello", "bad_line", "bad_line"]
        nc.send(HELLO)
        assert nc.read()["type"] == "welcome"


def test_long_line_ends_the_connection() -> None:
    """Also if the line has not ended yet: the node does not keep more of it."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send(HELLO, b'{"type":"say","text":"' + b"x" * MAX_FRAME)
        error = nc.get("error")
        assert (error["code"], error["fatal"]) == ("line_too_long", True)
        assert not nc.read()


def test_enter_names_a_node() -> None:
    """The node asks its broker, before hello and after; the ticket is valid at the node that the answer names."""
    with cluster(2) as running, netcat(running.nodes[0]) as nc:
        nc.send({"type": "enter"}, {"type": "enter", "name": "ci"})
        assert nc.read()["code"] == "bad_request"
        entry = nc.get("entry")
        there = next(node for node in running.nodes if node.name == entry["node"])
        assert entry["address"] == there.address
        with netcat(there) as other:
            other.send({**HELLO, "ticket": entry["ticket"]})
            assert other.read()["node"] == there.name
        nc.send({**HELLO, "ticket": entry["ticket"]})
        assert nc.get("error")["code"] == "bad_ticket"


def test_enter_is_limited() -> None:
    """Each `enter` costs the broker a question: one that comes too soon is refused without asking."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send(HELLO, *[{"type": "enter"}] * 50)
        assert nc.get("entry")
        assert {nc.get("error")["code"] for _ in range(49)} == {"too_many_questions"}
        assert running.broker.address
        assert running.nodes[0].load.take()["redeemed"] == []


def test_enter_without_a_broker() -> None:
    """The client is told what it can do; the brokers' addresses, and how to start one, are not its business."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        running.broker.stop()
        nc.send({"type": "enter", "name": "ci", "room": "lobby"}, HELLO)
        error = nc.read()
        assert (error["code"], error["room"], error["retry_after"]) == ("no_broker", "lobby", 1.0)
        assert running.address not in error["text"]
        assert "stay at this node" in error["text"]
        assert nc.read()["type"] == "welcome"


def test_enter_of_many_clients_is_limited() -> None:
    """Each open question to a broker needs files, of which a node keeps few free; an answer frees its place."""
    with cluster(1) as running, ExitStack() as closing:
        node = running.nodes[0]
        for _ in range(MAX_ASKING):
            assert node.clients.begin_question()
        first, second = (closing.enter_context(netcat(node)) for _ in range(2))
        first.send({"type": "enter", "name": "ada"})
        error = first.read()
        assert (error["code"], error["retry_after"]) == ("too_many_questions", 1.0)
        node.clients.end_question()
        for name in ("bob", "cyd"):
            second.send({**HELLO, "name": name}, {"type": "enter", "name": name})
            assert second.get("entry")
            second = closing.enter_context(netcat(node))


def test_enter_of_many_connections_is_limited() -> None:
    """Clients that ask where to enter and do not come take few places, however many connections they use."""
    with cluster(1) as running:
        codes = []
        for _ in range(60):
            with netcat(running.nodes[0]) as nc:
                nc.send({"type": "enter", "name": "ci"})
                codes.append(nc.read().get("code", "entry"))
        assert 20 <= codes.count("entry") < 50
        assert set(codes) == {"entry", "too_many_questions"}


def test_rate_of_clients_without_ticket() -> None:
    """Above the rate, clients are told to come later; a client with a ticket is let in meanwhile."""
    with cluster(1, NodeSettings(admits=5.0)) as running:
        refused = 0
        for number in range(20):
            with netcat(running.nodes[0]) as nc:
                nc.send({**HELLO, "name": f"ci{number}"})
                answer = nc.read()
                refused += answer["type"] == "error"
                assert answer["type"] == "welcome" or (answer["code"], answer["retry_after"]) == ("storm", 1.0)
        assert 10 <= refused <= 15
        with RawClient(running.address, "ada") as ada:
            assert ada.session


def test_draining_node_needs_tickets() -> None:
    """It would have to move the client away again at once."""
    with cluster(1) as running:
        running.nodes[0].drain(0.0)
        with netcat(running.nodes[0]) as nc:
            nc.send(HELLO)
            assert nc.read()["code"] == "full"


def test_full_node_answers_in_the_clients_dialect() -> None:
    """A client that speaks lines gets the reason as a line."""
    with cluster(1, NodeSettings(capacity=1)) as running, running.clients("ada"):
        host = parse_address(running.nodes[0].address)
        # The node looks at the bytes that have come when it accepts, so send them with the connection if possible.
        answers = []
        for _ in range(20):
            with socket.create_connection(host, 5000 * MS) as sock:
                sock.sendall(json.dumps(HELLO).encode() + b"\n")
                answers.append(sock.recv(1000))
        assert any(b'"code":"full"' in answer for answer in answers)


def test_other_text_protocol_gets_an_error_line() -> None:
    """A client that sends neither frames nor JSON gets an error in words, and the connection ends."""
    with cluster(1) as running, netcat(running.nodes[0]) as nc:
        nc.send(b"GET / HTTP/1.1\r\n\r\n")
        assert nc.read()["fatal"]
        assert not nc.read()


def test_large_posts_arrive_complete() -> None:
    """A long text with data comes back unchanged, to a client with lines and to one with frames."""
    text, data = "é\n" * 5000, {"a": ["x" * 3000, 1.5, None, {"b": True}]}
    with cluster(1) as running, running.clients("ada", "bob", room="lobby", mixed=True) as (ada, bob):
        bob.send(Say("lobby", 1, text, "notice", 7, data))
        for client in (ada, bob):
            said = client.get(Message)
            assert (said.text, said.kind, said.ref, said.data) == (text, "notice", 7, data)
        assert not any(isinstance(heard, Error) for heard in (*ada.heard, *bob.heard))
