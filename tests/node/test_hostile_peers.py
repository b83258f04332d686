"""A peer that publishes what is not so: its hearers drop it, and their rooms go on as the log says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from parlour.node import NodeSettings
from parlour.node.log import Extent
from parlour.node.rooms.batchsizer import BatchSizer
from parlour.node.rooms.room import Room
from parlour.wire.codec import decode_relay, encode, frames
from parlour.wire.control import Peer
from parlour.wire.messages import MAX_OFFSET, Join, Joined, Message
from parlour.wire.relay import LogHead, PresenceDelta, PresenceSnapshot, room_topic
from support.cluster import Cluster, RawClient, cluster
from support.waiting import MS, eventually

TOPIC = room_topic("lobby")


class Mouth:
    """A peer of a node, made of an XPUB of the test's thread."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def heard(self) -> None:
        """Wait until the node listens to the lobby."""
        assert self.socket.poll(round(5000 * MS * 1000))
        while self.socket.recv() != b"\1" + TOPIC:
            assert self.socket.poll(round(5000 * MS * 1000))

    def say(self, head: object, frames: bytes = b"", topic: bytes = TOPIC) -> None:
        """Publish, whatever it is."""
        self.socket.send_multipart([topic, head if isinstance(head, bytes) else encode(head), frames])


@contextmanager
def peer_of(running: Cluster) -> Iterator[Mouth]:
    """Make the first node listen to a peer of the test's."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        node = running.nodes[0]
        node._relay.set_peers([*node._relay.peers().values(), Peer("evil", "x", f"127.0.0.1:{port}")])
        yield Mouth(socket)


def head(first: int, last: int, epoch: str) -> dict[str, object]:
    """Return the head of a batch, without the checks of the real one."""
    return {"type": "batch", "epoch": epoch, "first": first, "last": last}


def message(offset: int, text: str = "forged", room: str = "lobby") -> Message:
    """Return a message that nobody logged."""
    return Message(room, offset, "evil-1", "evil", 0, text)


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Run one node, with the look of a second at the log out of the way: what is right must not depend on it."""
    with cluster(1, NodeSettings(presence_interval=50 * MS, hole_wait=1 * MS)) as running:
        yield running


def goes_on(running: Cluster, *talkers: RawClient) -> None:
    """Everybody hears everybody, and a newcomer gets in and sees who is there."""
    for talker in talkers:
        talker.say("lobby", f"from {talker.name}")
        for hearer in talkers:
            while f"from {talker.name}" not in hearer.texts(1):
                pass
    with RawClient(running.address, "new") as new:
        assert new.join("lobby").offset >= len(talkers)


@pytest.mark.parametrize(
    ("first", "last", "body"),
    [
        pytest.param(1, 2, b"", id="without its frames"),
        pytest.param(1, 2**62, b"", id="far beyond every offset"),
        pytest.param(1, 1, b"\xff" * 64, id="of no frames"),
        pytest.param(1, 2, frames([message(1)]), id="of fewer messages than it says"),
        pytest.param(1, 1, frames([message(1), message(2)]), id="of more messages than it says"),
        pytest.param(1, 2, frames([message(2), message(1)]), id="out of order"),
        pytest.param(1, 1, frames([message(1, room="elsewhere")]), id="of another room"),
        pytest.param(1, 1, frames([{"type": "message", "room": "lobby", "offset": 1}]), id="of no messages"),
        pytest.param(2, 1, b"", id="that ends before it begins"),
    ],
)
def test_a_batch_that_is_none_is_dropped(running: Cluster, first: int, last: int, body: bytes) -> None:
    """It reaches nobody, and the room goes on."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.heard()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.say(head(first, last, epoch), body)
        evil.say(PresenceSnapshot("evil", "x", 1, {"s": "sign"}))  # what comes behind it has been heard, too
        eventually(lambda: "sign" in roster(running))
        goes_on(running, ada, bob)


def roster(running: Cluster) -> list[str]:
    """Return who is in the lobby, as the node shows it."""
    return room(running)._presence._roster.names()


def room(running: Cluster) -> Room:
    """Return the lobby of the first node."""
    found = running.nodes[0].rooms.get("lobby")
    assert found is not None
    return found


def test_a_message_that_was_never_logged_does_not_hide_the_one_that_was(running: Cluster) -> None:
    """Both claim the same offset: the log tells which is right, and the members are sent that."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.heard()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.say(head(1, 1, epoch), frames([message(1)]))
        assert bob.texts(1) == ["forged"]
        ada.say("lobby", "true")
        assert bob.texts(1) == ["true"]
        assert [found.text for found in running.nodes[0].log.read("lobby", 0, 9)] == ["true"]
        goes_on(running, ada, bob)


def test_a_top_beyond_the_log_is_forgotten(running: Cluster) -> None:
    """Else the log would be asked for what it does not have for as long as the room lives."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.heard()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.say(LogHead(epoch, MAX_OFFSET))
        evil.say(head(1000, 1000, epoch), frames([message(1000)]))
        eventually(lambda: room(running).progress()[1] == MAX_OFFSET)
        eventually(lambda: room(running).progress() == (0, 0))
        goes_on(running, ada, bob)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(
            {"type": "here", "node": "evil", "instance": "x", "version": 1, "members": {"s": "n" * 70_000}}, id="long"
        ),
        pytest.param(
            {"type": "here", "node": "evil", "instance": "x", "version": 2**60, "members": {"s": "m"}}, id="version"
        ),
        pytest.param(PresenceSnapshot("n2", "other", MAX_OFFSET, {"s": "ghost"}), id="another instance"),
        pytest.param(PresenceDelta("n2", "other", 1, MAX_OFFSET, {"s": "ghost"}), id="changes of another"),
        pytest.param(b"\xc1", id="no message"),
    ],
)
def test_members_that_are_none_are_not_shown(running: Cluster, told: object) -> None:
    """A node speaks for its own members alone, whose names are names."""
    with running.clients("ada", room="lobby") as (ada,), peer_of(running) as evil:
        evil.heard()
        evil.say(told)
        evil.say(PresenceSnapshot("evil", "x", 1, {"s": "sign"}))
        eventually(lambda: "sign" in roster(running))
        assert roster(running) == ["ada", "sign"]
        goes_on(running, ada)


def test_a_node_cannot_speak_for_a_peer_that_is_there() -> None:
    """What another says in its name and of its instance comes over another connection."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby") as (_, _), peer_of(running) as evil:
        eventually(lambda: roster(running) == ["ada", "bob"])
        evil.heard()
        victim = running.nodes[1]
        evil.say(PresenceSnapshot("n2", victim.instance, MAX_OFFSET, {"s": "ghost"}))
        evil.say(PresenceSnapshot("evil", "x", 1, {"s": "sign"}))
        eventually(lambda: "sign" in roster(running))
        assert roster(running) == ["ada", "bob", "sign"]


def test_a_room_that_fails_before_its_pass_goes_on(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails while a thread is the room's combiner, another becomes it."""
    failures = [RuntimeError("once")]

    def gather(*_: object) -> None:
        if failures and threading.current_thread().name.startswith("n1-worker"):
            raise failures.pop()

    with running.clients("ada", "bob", room="lobby") as (ada, bob):
        monkeypatch.setattr(BatchSizer, "gather", gather)
        room(running).combine_elsewhere()
        eventually(lambda: not failures)
        goes_on(running, ada, bob)


def test_a_node_may_listen_to_a_room_that_is_being_opened(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stands is not known while the log is slow: the peer is told who is in it, and all goes on."""
    node = running.nodes[0]
    asked, answered = threading.Event(), threading.Event()

    def extent(room: str) -> Extent:
        asked.set()
        answered.wait(5000 * MS)
        return type(node.log).extent(node.log, room)

    monkeypatch.setattr(node.log, "extent", extent)
    with zmq.Context() as context, context.socket(zmq.SUB) as ears, RawClient(running.address, "ada") as ada:
        ears.linger = 0
        ears.connect(f"tcp://127.0.0.1:{node._relay.port}")
        ada.send(Join("lobby"))
        assert asked.wait(5000 * MS)
        ears.subscribe(TOPIC)
        heard = ears.poll(round(5000 * MS * 1000))
        answered.set()
        assert heard
        assert isinstance(decode_relay(ears.recv_multipart()[1]), PresenceSnapshot)
        assert ada.get(Joined).offset == 0
        goes_on(running, ada)
