"""A peer that publishes false data: other nodes drop it, and their rooms follow the log."""

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


class FakePeer:
    """A peer of a node: an XPUB socket of the test's thread."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def wait_for_listener(self) -> None:
        """Wait until the node listens to the lobby."""
        assert self.socket.poll(round(5000 * MS * 1000))
        while self.socket.recv() != b"\1" + TOPIC:
            assert self.socket.poll(round(5000 * MS * 1000))

    def publish(self, header: object, frames: bytes = b"", topic: bytes = TOPIC) -> None:
        """Publish anything."""
        self.socket.send_multipart([topic, header if isinstance(header, bytes) else encode(header), frames])


@contextmanager
def peer_of(running: Cluster) -> Iterator[FakePeer]:
    """Make the first node listen to a fake peer."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        node = running.nodes[0]
        node._relay.set_peers([*node._relay.peers().values(), Peer("evil", "x", f"127.0.0.1:{port}")])
        yield FakePeer(socket)


def batch_header(first: int, last: int, epoch: str) -> dict[str, object]:
    """Return the header of a batch, without the checks of the real one."""
    return {"type": "batch", "epoch": epoch, "first": first, "last": last}


def message(offset: int, text: str = "forged", room: str = "lobby") -> Message:
    """Return a message that is not in the log."""
    return Message(room, offset, "evil-1", "evil", 0, text)


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Run one node whose rooms read holes from the log at once."""
    with cluster(1, NodeSettings(presence_interval=50 * MS, hole_wait=1 * MS)) as running:
        yield running


def check_room_works(running: Cluster, *talkers: RawClient) -> None:
    """Check that all members hear each other, and that a newcomer can join."""
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
        pytest.param(1, 2, b"", id="without frames"),
        pytest.param(1, 2**62, b"", id="impossible offset"),
        pytest.param(1, 1, b"\xff" * 64, id="broken frames"),
        pytest.param(1, 2, frames([message(1)]), id="too few messages"),
        pytest.param(1, 1, frames([message(1), message(2)]), id="too many messages"),
        pytest.param(1, 2, frames([message(2), message(1)]), id="out of order"),
        pytest.param(1, 1, frames([message(1, room="elsewhere")]), id="another room"),
        pytest.param(1, 1, frames([{"type": "message", "room": "lobby", "offset": 1}]), id="incomplete message"),
        pytest.param(2, 1, b"", id="ends before it begins"),
    ],
)
def test_invalid_batch_is_dropped(running: Cluster, first: int, last: int, body: bytes) -> None:
    """The batch reaches no member, and the room goes on."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.wait_for_listener()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.publish(batch_header(first, last, epoch), body)
        evil.publish(
            PresenceSnapshot("evil", "x", 1, {"s": "sign"})
        )  # when the node shows this, it has handled the batch
        eventually(lambda: "sign" in roster(running))
        check_room_works(running, ada, bob)


def roster(running: Cluster) -> list[str]:
    """Return the names in the lobby, as the node shows them."""
    return room(running)._presence._roster.names()


def room(running: Cluster) -> Room:
    """Return the lobby of the first node."""
    found = running.nodes[0].rooms.get("lobby")
    assert found is not None
    return found


def test_forged_message_is_replaced_by_the_logged_one(running: Cluster) -> None:
    """Both claim the same offset: the log decides, and the members get the logged message."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.wait_for_listener()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.publish(batch_header(1, 1, epoch), frames([message(1)]))
        assert bob.texts(1) == ["forged"]
        ada.say("lobby", "true")
        assert bob.texts(1) == ["true"]
        assert [found.text for found in running.nodes[0].log.read("lobby", 0, 9)] == ["true"]
        check_room_works(running, ada, bob)


def test_log_head_beyond_the_log_is_forgotten(running: Cluster) -> None:
    """Else the room would ask the log for missing messages as long as it lives."""
    with running.clients("ada", "bob", room="lobby") as (ada, bob), peer_of(running) as evil:
        evil.wait_for_listener()
        epoch = running.nodes[0].log.extent("lobby").epoch
        evil.publish(LogHead(epoch, MAX_OFFSET))
        evil.publish(batch_header(1000, 1000, epoch), frames([message(1000)]))
        eventually(lambda: room(running).progress()[1] == MAX_OFFSET)
        eventually(lambda: room(running).progress() == (0, 0))
        check_room_works(running, ada, bob)


@pytest.mark.parametrize(
    "publication",
    [
        pytest.param(
            {"type": "here", "node": "evil", "instance": "x", "version": 1, "members": {"s": "n" * 70_000}},
            id="long name",
        ),
        pytest.param(
            {"type": "here", "node": "evil", "instance": "x", "version": 2**60, "members": {"s": "m"}},
            id="impossible version",
        ),
        pytest.param(PresenceSnapshot("n2", "other", MAX_OFFSET, {"s": "ghost"}), id="another instance"),
        pytest.param(PresenceDelta("n2", "other", 1, MAX_OFFSET, {"s": "ghost"}), id="delta of another instance"),
        pytest.param(b"\xc1", id="no message"),
    ],
)
def test_invalid_members_are_not_shown(running: Cluster, publication: object) -> None:
    """A node may publish its own members alone, with valid names."""
    with running.clients("ada", room="lobby") as (ada,), peer_of(running) as evil:
        evil.wait_for_listener()
        evil.publish(publication)
        evil.publish(PresenceSnapshot("evil", "x", 1, {"s": "sign"}))
        eventually(lambda: "sign" in roster(running))
        assert roster(running) == ["ada", "sign"]
        check_room_works(running, ada)


def test_node_cannot_speak_for_another() -> None:
    """A snapshot with another node's name and instance came over the wrong connection."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby") as (_, _), peer_of(running) as evil:
        eventually(lambda: roster(running) == ["ada", "bob"])
        evil.wait_for_listener()
        victim = running.nodes[1]
        evil.publish(PresenceSnapshot("n2", victim.instance, MAX_OFFSET, {"s": "ghost"}))
        evil.publish(PresenceSnapshot("evil", "x", 1, {"s": "sign"}))
        eventually(lambda: "sign" in roster(running))
        assert roster(running) == ["ada", "bob", "sign"]


def test_failed_combiner_is_replaced(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a combiner fails before its pass, another thread takes the role."""
    failures = [RuntimeError("once")]

    def gather(*_: object) -> None:
        if failures and threading.current_thread().name.startswith("n1-worker"):
            raise failures.pop()

    with running.clients("ada", "bob", room="lobby") as (ada, bob):
        monkeypatch.setattr(BatchSizer, "gather", gather)
        room(running).combine_elsewhere()
        eventually(lambda: not failures)
        check_room_works(running, ada, bob)


def test_peer_may_listen_to_an_opening_room(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log is slow the room's last offset is unknown: the peer is told the members alone."""
    node = running.nodes[0]
    asked, answered = threading.Event(), threading.Event()

    def extent(room: str) -> Extent:
        asked.set()
        answered.wait(5000 * MS)
        return type(node.log).extent(node.log, room)

    monkeypatch.setattr(node.log, "extent", extent)
    with zmq.Context() as context, context.socket(zmq.SUB) as listener, RawClient(running.address, "ada") as ada:
        listener.linger = 0
        listener.connect(f"tcp://127.0.0.1:{node._relay.port}")
        ada.send(Join("lobby"))
        assert asked.wait(5000 * MS)
        listener.subscribe(TOPIC)
        heard = listener.poll(round(5000 * MS * 1000))
        answered.set()
        assert heard
        assert isinstance(decode_relay(listener.recv_multipart()[1]), PresenceSnapshot)
        assert ada.get(Joined).offset == 0
        check_room_works(running, ada)
