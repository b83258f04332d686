"""One room on several nodes: one order and one roster, even if the relay loses publications."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest
import zmq

from parlour.broker import BrokerSettings
from parlour.node import Node, NodeSettings
from parlour.node.rooms import table as rooms
from parlour.node.rooms.room import Room
from parlour.runtime.threads import join_all, spawn
from parlour.wire.codec import decode_relay
from parlour.wire.messages import (
    Accepted,
    Bye,
    Error,
    Join,
    Joined,
    Leave,
    Left,
    Members,
    Message,
    Ping,
    Pong,
    Presence,
    Say,
    Who,
)
from parlour.wire.relay import LogHead, room_topic
from support.cluster import Cluster, RawClient, cluster, fleet
from support.waiting import MS, eventually, poll


def follow(client: RawClient, count: int, into: list[tuple[int, str, str]]) -> None:
    """Read so many messages: offset, id and text of each."""
    for _ in range(count):
        message = client.get(Message)
        into.append((message.offset, message.id, message.text))


def flood(running: Cluster, senders: int, each: int) -> None:
    """Let members on all nodes post at once as fast as they can, and check that all saw the same."""
    names = [f"member-{number}" for number in range(max(senders, 3))]
    with running.clients(*names, room="lobby") as clients:
        seen: list[list[tuple[int, str, str]]] = [[] for _ in clients]
        total = senders * each
        readers = [
            spawn(f"reader-{client.name}", follow, client, total, into)
            for client, into in zip(clients, seen, strict=True)
        ]
        writers = [
            spawn(f"writer-{client.name}", client.say, "lobby", *(f"{client.name} {n}" for n in range(each)))
            for client in clients[:senders]
        ]
        join_all([*writers, *readers], 60)
        assert [offset for offset, _, _ in seen[0]] == list(range(1, total + 1))
        assert all(other == seen[0] for other in seen[1:])
        for client in clients[:senders]:
            mine = [text for _, _, text in seen[0] if text.startswith(f"{client.name} ")]
            assert mine == [f"{client.name} {n}" for n in range(each)]


@pytest.mark.parametrize("log", ["memory://", "sqlite"])
def test_all_members_see_the_same_sequence(log: str, tmp_path: object) -> None:
    """Ten members on three nodes post at once; all see the offsets 1 to N with the same texts."""
    url = f"sqlite://{tmp_path}/log.sqlite" if log == "sqlite" else log
    with cluster(3, NodeSettings(log=url)) as running:
        flood(running, senders=10, each=200)


def test_lost_batches_are_read_from_the_log() -> None:
    """The relay loses half of the batches, and no member misses a message."""
    with cluster(3, NodeSettings(relay_loss=0.5)) as running:
        flood(running, senders=6, each=100)


def test_lost_last_message_is_noticed() -> None:
    """The relay loses the last batch: a heartbeat shows that, and the message is read from the log."""
    with cluster(2, NodeSettings(relay_loss=1.0)) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "the last word")
        assert bob.get(Message).text == "the last word"


def test_new_listener_gets_the_log_head_twice() -> None:
    """The first announcement may be lost, so a heartbeat repeats the log head."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,), zmq.Context() as context:
        ada.say("lobby", "to nobody else")
        ada.get(Message)
        with context.socket(zmq.SUB) as listener:
            listener.linger = 0
            listener.connect(f"tcp://{fleet(running.address).nodes[0].report.relay}")
            listener.subscribe(room_topic("lobby"))
            offsets: list[int] = []
            while len(offsets) < 2:
                assert listener.poll(int(5000 * MS * 1000)), "the room is silent"
                header = decode_relay(listener.recv_multipart()[1])
                if isinstance(header, LogHead):
                    offsets.append(header.offset)
        assert offsets == [1, 1]


def test_room_made_during_an_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The announcement of an empty room has a lower version than the room that is made meanwhile."""
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        table = running.nodes[0].rooms
        real, looked = table.get, threading.Event()

        def get(name: str) -> Room | None:
            room = real(name)
            if room is None and threading.current_thread().name == "n1-relay":
                looked.set()
                poll(lambda: real(name) is not None, 5)
            return room

        monkeypatch.setattr(table, "get", get)
        bob.send(Join("lobby"))
        eventually(looked.is_set)
        ada.send(Join("lobby"))

        def sees_both(client: RawClient) -> bool:
            client.send(Who("lobby"))
            return client.get(Members).names == ["ada", "bob"]

        for client in (ada, bob):
            eventually(lambda client=client: sees_both(client))  # type: ignore[misc]


def test_presence_across_nodes() -> None:
    """A member that joins sees all names; members on every node see the names that come and go."""
    with cluster(3) as running, running.clients("ada", "bob", room="lobby") as (ada, bob), ExitStack() as stack:
        cy = stack.enter_context(RawClient(running.address, "cy", "n3"))
        cy.send(Join("lobby"))
        members = cy.get(Members)
        assert (members.names, members.count) == (["ada", "bob", "cy"], 3)
        for other in (ada, bob):
            names: set[str] = set()
            while "cy" not in names:
                presence = other.get(Presence)
                names.update(presence.joined)
        cy.send(Bye())
        for other in (ada, bob):
            while "cy" not in other.get(Presence).left:
                pass
        ada.send(Who("lobby"))
        eventually(lambda: "cy" not in ada.get(Members).names)


def test_members_leave_with_their_node() -> None:
    """A node that stops tells its clients, and they leave every roster."""
    settings = NodeSettings(grace=100 * MS, presence_interval=50 * MS, report_interval=0.2)
    with (
        # A young broker's roster removes no node; with this setting the broker is soon old enough.
        cluster(2, settings, BrokerSettings(settle=0.1)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        while "bob" not in ada.get(Presence).joined:
            pass
        running.nodes[1].stop()
        assert "stopping" in bob.get(Bye).reason
        while "bob" not in ada.get(Presence).left:
            pass


def test_history_is_replayed_from_a_position() -> None:
    """The last N messages, or all after an offset; the offset in `joined` tells which are replayed."""
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby")
        ada.say("lobby", *(str(number) for number in range(1, 101)))
        ada.texts(100)
        joined = bob.join("lobby", history=3)
        assert (joined.offset, joined.after, joined.recovered) == (100, 97, True)
        assert bob.texts(3) == ["98", "99", "100"]
        joined = bob.join("lobby", after=60, epoch=joined.epoch)
        assert joined.after == 60
        assert bob.texts(40) == [str(number) for number in range(61, 101)]
        ada.say("lobby", "new")
        assert bob.texts(1) == ["new"]


@pytest.mark.parametrize("position", [{"after": 7}, {"after": 1, "epoch": "another"}])
def test_position_outside_the_log_is_not_recovered(position: dict[str, object]) -> None:
    """A position beyond the log's end or in another epoch: an older client is told so and gets all messages."""
    with cluster(1) as running, RawClient(running.address, "ada", protocol="1.0") as ada:
        ada.join("lobby")
        ada.say("lobby", "one", "two")
        ada.texts(2)
        joined = ada.join("lobby", **position)
        assert (joined.recovered, joined.after) == (False, 0)
        assert ada.texts(2) == ["one", "two"]


def test_repeated_post_is_only_acknowledged() -> None:
    """A repeated id is answered by `accepted` with the offset of the first post."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        ada.send(Say("lobby", 1, "once"))
        first = ada.get(Message)
        ada.send(Say("lobby", 1, "once"), Say("lobby", 2, "twice"))
        accepted = ada.get(Accepted)
        assert (accepted.id, accepted.offset, accepted.at) == (1, first.offset, first.at)
        assert ada.get(Message).text == "twice"


def test_client_in_several_rooms() -> None:
    """A room's messages reach its members alone, and not a client that has left it."""
    with cluster(1) as running, running.clients("ada", "bob") as (ada, bob):
        for room in ("lobby", "attic"):
            ada.join(room)
        bob.join("attic")
        ada.say("lobby", "down here")
        ada.say("attic", "up here")
        assert {ada.get(Message).room for _ in range(2)} == {"lobby", "attic"}
        assert bob.get(Message).text == "up here"
        bob.send(Leave("attic"))
        bob.get(Left)
        bob.send(Say("attic", 9, "from outside"))
        error = bob.get(Error)
        assert (error.code, error.room, error.id, error.fatal) == ("not_joined", "attic", 9, False)
        ada.say("attic", "alone")
        assert ada.get(Message).text == "alone"
        assert not [heard for heard in bob.heard if isinstance(heard, Message)]


def test_empty_room_is_dropped_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room without members leaves the table after a while; its messages are there when it is made again."""
    monkeypatch.setattr(rooms, "IDLE", 0.5)
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby")
        ada.say("lobby", "hello")
        ada.texts(1)
        ada.send(Leave("lobby"))
        ada.get(Left)
        eventually(lambda: running.nodes[0].rooms.count() == 0)
        assert bob.join("lobby", history=5).offset == 1
        assert ada.join("lobby").offset == 1
        bob.say("lobby", "again")
        assert ada.texts(1) == ["again"]
        assert isinstance(bob.join("lobby", history=1), Joined)


def events_until(client: RawClient, text: str) -> tuple[list[str], list[str]]:
    """Read until this text; return the names that came and that went before it."""
    came: list[str] = []
    went: list[str] = []
    while True:
        while not client.heard:
            client.read()
        heard = client.heard.pop(0)
        if isinstance(heard, Presence):
            came += heard.joined
            went += heard.left
        elif isinstance(heard, Message) and heard.text == text:
            return came, went


@pytest.mark.parametrize("node", ["n2", "n3"])
def test_return_within_the_grace_period(node: str) -> None:
    """A client that was cut off comes back, to its node or another: it keeps its session, and nobody saw it leave."""
    with (
        cluster(3, NodeSettings(grace=500 * MS, presence_interval=10 * MS)) as running,
        running.clients("ada", room="lobby") as (ada,),
    ):
        bob = RawClient(running.address, "bob", "n2", key="a secret of bob's")
        bob.join("lobby")
        while "bob" not in ada.get(Presence).joined:
            pass
        bob.say("lobby", "before")
        events_until(ada, "before")
        bob.close()
        with RawClient(running.address, "bob", node, key="a secret of bob's") as again:
            assert again.session == bob.session
            again.join("lobby", after=1)
            poll(lambda: False, 0.8)
            again.send(Say("lobby", 1, "before"), Say("lobby", 2, "after"))
            assert again.get(Accepted).offset == 1
            assert events_until(ada, "after") == ([], [])
            ada.send(Who("lobby"))
            assert ada.get(Members).names == ["ada", "bob"]
        # The second time it does not come back.
        eventually(lambda: "bob" in ada.get(Presence).left)


def test_sessions_differ_by_key() -> None:
    """The session in the ids of messages differs from the key, and from the sessions of other keys."""
    with cluster(1) as running:
        sessions: set[str] = set()
        for name, key in (("ada", "one"), ("bob", "two"), ("cyd", ""), ("dee", "")):
            with RawClient(running.address, name, key=key) as client:
                assert client.session != key
                sessions.add(client.session)
        assert len(sessions) == 4


def test_last_posts_before_leaving_are_acknowledged() -> None:
    """A client that leaves right after its posts gets the message or `accepted` for each of them."""
    with cluster(1) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        for turn in range(30):
            bob.say("lobby", *["noise"] * 20)
            ada.send(Say("lobby", turn + 1, "my last words"), Leave("lobby"), Ping())
            ada.get(Left)
            ada.get(Pong)
            eventually(lambda turn=turn: acknowledged(ada, turn + 1))  # type: ignore[misc]
            ada.join("lobby")


def acknowledged(client: RawClient, number: int) -> bool:
    """Read some messages; return whether this post of the client came back or was accepted."""
    for heard in client.heard:
        if (isinstance(heard, Message) and heard.id == f"{client.session}-{number}") or (
            isinstance(heard, Accepted) and heard.id == number
        ):
            return True
    client.read()
    return False


def test_late_node_subscribes_to_thousands_of_rooms() -> None:
    """More rooms than a ZeroMQ queue holds by default: no subscription may be dropped while the node connects."""
    names = [f"room-{number}" for number in range(1200)]
    settings = NodeSettings(rooms_per_client=len(names), roster_wait=0)
    with cluster(1, settings) as running, running.clients("ada") as (ada,):
        ada.send(*map(Join, names))
        for _ in names:
            ada.get(Joined)
        first = running.nodes[0]
        late = Node(replace(first.settings, name="n2", log=first.settings.log))
        late.start()
        try:
            eventually(lambda: late.peers() and first.peers())
            with RawClient(running.address, "bob", "n2") as bob:
                bob.send(*map(Join, names))
                for name in names:
                    bob.say(name, "hello")
                assert {ada.get(Message).room for _ in names} == set(names)
        finally:
            late.stop()
