"""One room on several nodes: one order, one roster, whatever the relay loses."""

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
    """Let members on all nodes post at once as fast as they can, and check what every member saw."""
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
def test_all_members_on_three_nodes_see_the_same_sequence(log: str, tmp_path: object) -> None:
    """Ten members post at once over three nodes; everybody sees 1 to N, the same texts at the same offsets."""
    url = f"sqlite://{tmp_path}/log.sqlite" if log == "sqlite" else log
    with cluster(3, NodeSettings(log=url)) as running:
        flood(running, senders=10, each=200)


def test_batches_that_the_relay_drops_are_read_from_the_log() -> None:
    """With half of the batches lost on the way, nobody misses a message."""
    with cluster(3, NodeSettings(relay_loss=0.5)) as running:
        flood(running, senders=6, each=100)


def test_a_lost_last_message_is_noticed() -> None:
    """Every batch is lost and nothing follows: the heartbeat shows it, the log gives it."""
    with cluster(2, NodeSettings(relay_loss=1.0)) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "the last word")
        assert bob.get(Message).text == "the last word"


def test_a_node_that_begins_to_listen_is_told_again_where_the_room_stands() -> None:
    """The relay may lose what it is told at once, and nothing was told while nobody listened."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,), zmq.Context() as context:
        ada.say("lobby", "to nobody else")
        ada.get(Message)
        with context.socket(zmq.SUB) as listener:
            listener.linger = 0
            listener.connect(f"tcp://{fleet(running.address).nodes[0].report.relay}")
            listener.subscribe(room_topic("lobby"))
            tops: list[int] = []
            while len(tops) < 2:
                assert listener.poll(int(5000 * MS * 1000)), "the room is silent"
                head = decode_relay(listener.recv_multipart()[1])
                if isinstance(head, LogHead):
                    tops.append(head.offset)
        assert tops == [1, 1]


def test_a_room_that_is_made_while_a_node_asks_about_it_tells_of_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it has nobody there yet is told as of before the room was made, not after."""
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


def test_members_of_all_nodes_are_listed_and_their_coming_and_going_told() -> None:
    """Who joins sees everybody; everybody sees who joins and who leaves, on every node."""
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


def test_a_node_that_stops_takes_its_members_with_it() -> None:
    """Its clients are told, and leave every roster."""
    settings = NodeSettings(grace=100 * MS, presence_interval=50 * MS, report_interval=0.2)
    with (
        # So young a broker's roster takes nobody away; with such intervals it is soon old enough.
        cluster(2, settings, BrokerSettings(settle=0.1)) as running,
        running.clients("ada", "bob", room="lobby") as (ada, bob),
    ):
        while "bob" not in ada.get(Presence).joined:
            pass
        running.nodes[1].stop()
        assert "stopping" in bob.get(Bye).reason
        while "bob" not in ada.get(Presence).left:
            pass


def test_history_is_replayed_from_where_it_is_asked_for() -> None:
    """The last N, or all that follows an offset; what is replayed is told by the offset in `joined`."""
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
def test_a_position_that_is_not_of_this_log_is_not_recovered(position: dict[str, object]) -> None:
    """Beyond the log's end, or of another epoch: an older client is told so, and gets all there is."""
    with cluster(1) as running, RawClient(running.address, "ada", protocol="1.0") as ada:
        ada.join("lobby")
        ada.say("lobby", "one", "two")
        ada.texts(2)
        joined = ada.join("lobby", **position)
        assert (joined.recovered, joined.after) == (False, 0)
        assert ada.texts(2) == ["one", "two"]


def test_a_post_sent_again_is_acknowledged_and_not_said_again() -> None:
    """The same id brings `accepted` with the place of the first."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        ada.send(Say("lobby", 1, "once"))
        first = ada.get(Message)
        ada.send(Say("lobby", 1, "once"), Say("lobby", 2, "twice"))
        accepted = ada.get(Accepted)
        assert (accepted.id, accepted.offset, accepted.at) == (1, first.offset, first.at)
        assert ada.get(Message).text == "twice"


def test_rooms_are_apart_and_a_client_may_be_in_several() -> None:
    """What is said in a room comes to its members alone; who has left it hears nothing more."""
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


def test_an_empty_room_is_dropped_and_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room without members goes from the table after a while, and what was said is there when it is back."""
    monkeypatch.setattr(rooms, "IDLE", 0.5)
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        ada.join("lobby")
        ada.say("lobby", "hello")
        ada.texts(1)
        ada.send(Leave("lobby"))
        ada.get(Left)
        eventually(lambda: running.nodes[0].rooms.count() == 0, 10)
        assert bob.join("lobby", history=5).offset == 1
        assert ada.join("lobby").offset == 1
        bob.say("lobby", "again")
        assert ada.texts(1) == ["again"]
        assert isinstance(bob.join("lobby", history=1), Joined)


def events_until(client: RawClient, text: str) -> tuple[list[str], list[str]]:
    """Read until a text is said; return the names that came and that went before it."""
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
def test_who_is_back_within_the_grace_was_never_seen_to_leave(node: str) -> None:
    """A client that is cut off and comes back, to its node or another, keeps its session and its place."""
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


def test_keys_cannot_be_told_from_sessions_and_make_different_ones() -> None:
    """Everybody sees the session in the ids of messages; it is neither the key nor another key's."""
    with cluster(1) as running:
        sessions: set[str] = set()
        for key in ("one", "two", "", ""):
            with RawClient(running.address, "ada", key=key) as client:
                assert client.session != key
                sessions.add(client.session)
        assert len(sessions) == 4


def test_who_says_something_and_leaves_learns_that_it_was_logged() -> None:
    """Leaving right behind its posts, a client gets the message or `accepted` for each, and after `left` no list."""
    with cluster(1) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        for turn in range(30):
            bob.say("lobby", *["noise"] * 20)
            ada.send(Say("lobby", turn + 1, "my last words"), Leave("lobby"), Ping())
            ada.get(Left)
            ada.get(Pong)
            eventually(lambda turn=turn: acknowledged(ada, turn + 1))  # type: ignore[misc]
            ada.join("lobby")


def acknowledged(client: RawClient, number: int) -> bool:
    """Read a little, and return whether this post of the client's came back or was accepted."""
    for heard in client.heard:
        if (isinstance(heard, Message) and heard.id == f"{client.session}-{number}") or (
            isinstance(heard, Accepted) and heard.id == number
        ):
            return True
    client.read()
    return False


def test_thousands_of_rooms_are_subscribed_to_by_a_node_that_comes_later() -> None:
    """More rooms than a ZeroMQ queue holds by default: none of their subscriptions may be dropped on connecting."""
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
