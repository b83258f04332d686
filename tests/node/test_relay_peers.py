"""Peers that come, go or stop while the relay of a node works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from parlour.node import NodeSettings
from parlour.node.cluster import relay as module
from parlour.node.cluster.relay import Relay
from parlour.wire.control import Peer
from parlour.wire.relay import LogHead, RelayBatch, room_topic
from support.cluster import RawClient, cluster, fleet
from support.processes import processes
from support.waiting import MS, eventually, poll

PROGRAM = """
import threading, time, zmq
from parlour.node.cluster.relay import Relay
from parlour.wire.codec import encode
from parlour.wire.control import Peer
from parlour.wire.relay import LogHead, inbox_topic

stop = threading.Event()
ports = []

def publish():
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
        body = encode(LogHead("e", 1))
        while not stop.is_set():
            for _ in range(100):
                socket.send_multipart([inbox_topic("n1"), body, b""])
            stop.wait(0.0005)

publisher = threading.Thread(target=publish)
publisher.start()
relay = Relay("n1-relay", "n1", "i", "127.0.0.1")
relay.start()
while not ports:
    stop.wait(0.001)
peer = Peer("n2", "j", f"127.0.0.1:{ports[0]}")
until = time.monotonic() + 1.5
while time.monotonic() < until:
    relay.set_peers([peer])
    stop.wait(0.01)
    relay.set_peers([])
    stop.wait(0.001)
stop.set()
publisher.join(5)
relay.stop()
print("alive")
"""


def test_peer_leaves_within_a_publication() -> None:
    """ZeroMQ aborts the process if a SUB disconnects while it holds the beginning of a publication; we avoid that."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20_000 * MS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


LISTENER = """
import sys, zmq

with zmq.Context() as context, context.socket(zmq.SUB) as socket:
    socket.connect(sys.argv[1])
    socket.subscribe(sys.argv[2].encode() + bytes(1))
    while True:
        _, _, frames = socket.recv_multipart()
        if not frames:
            print("told", flush=True)
"""


class AnnouncingRooms:
    """Rooms of a node that announce one log head to each new listener."""

    def announcement(self, _: str) -> tuple[LogHead]:
        """Return the log head."""
        return (LogHead("e", 1),)


def test_queue_of_a_stopped_peer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay cuts the peer off, or gigabytes would wait for it; when the peer reads again it gets the log head."""
    monkeypatch.setattr(module, "PEER_TIMEOUT", int(1000 * MS * 1000))
    relay, topic = Relay("n1-relay", "n1", "i", "127.0.0.1"), room_topic("lobby")
    relay.serve(AnnouncingRooms())  # type: ignore[arg-type]
    relay.start()
    command = [sys.executable, "-c", LISTENER, f"tcp://127.0.0.1:{relay.port}", "rlobby"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        try:
            assert peer.stdout is not None
            assert peer.stdout.readline() == "told\n"
            peer.send_signal(signal.SIGSTOP)

            def forgotten() -> bool:
                relay.publish(topic, RelayBatch("e", 1, 1), bytes(300_000))
                return not relay.has_listeners(topic)

            eventually(forgotten)
            peer.send_signal(signal.SIGCONT)
            assert peer.stdout.readline() == "told\n"
            assert relay.has_listeners(topic)
        finally:
            peer.kill()
            relay.stop()


def test_stopped_node_gets_the_last_message_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue was full of another room: the last message of a quiet room was dropped, and so were the first beats."""
    monkeypatch.setattr(module, "MAX_QUEUED", 100)
    log = tmp_path / "log.sqlite"
    with cluster(1, NodeSettings(log=f"sqlite://{log}")) as running, processes() as started:
        here, port = running.nodes[0], int(running.address.rpartition(":")[2])
        there = started.node("n2", port, log)
        eventually(lambda: here.peers() and len(fleet(running.address).nodes) == 2)
        with RawClient(running.address, "ada", "n1") as ada, RawClient(running.address, "bob", "n2", 20) as bob:
            for room in ("noise", "quiet"):
                for client in (ada, bob):
                    client.join(room)
            ada.say("quiet", "hello")
            assert (ada.texts(1), bob.texts(1)) == (["hello"], ["hello"])
            there.send_signal(signal.SIGSTOP)
            noise = LogHead(here.log.extent("noise").epoch, 0)
            for _ in range(400):
                here._relay.publish(room_topic("noise"), noise, bytes(100_000))
                poll(lambda: False, 0.002)
            ada.say("quiet", "bye")
            assert ada.texts(1) == ["bye"]
            poll(lambda: False, 2.5)
            there.send_signal(signal.SIGCONT)
            assert bob.texts(1) == ["bye"]


class RecordingRooms:
    """Rooms of a node that record the offsets of all log heads."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def get(self, _: str) -> RecordingRooms:
        """Return the one room."""
        return self

    def announcement(self, _: str) -> tuple[()]:
        """Return nothing."""
        return ()

    def receive_log_head(self, header: LogHead) -> None:
        """Record its offset."""
        self.offsets.append(header.offset)


def test_address_of_a_gone_node_is_reused() -> None:
    """The system may give the port to a new node, and the roster has both nodes for a while."""
    rooms = RecordingRooms()
    relay, other = Relay("n1-relay", "n1", "i", "127.0.0.1"), Relay("n2-relay", "n2", "j", "127.0.0.1")
    relay.serve(rooms)  # type: ignore[arg-type]
    try:
        for each in (relay, other):
            each.start()
        place = f"127.0.0.1:{other.port}"
        gone, there = Peer("n0", "h", place), Peer("n2", "j", place)
        topic = room_topic("lobby")
        relay.subscribe(topic)

        def hears(number: int) -> bool:
            other.publish(topic, LogHead("e", number))
            return number in rooms.offsets

        for number, peers in enumerate(([gone], [gone, there], [there, gone], [there])):
            relay.set_peers(peers)
            eventually(lambda number=number: hears(number))  # type: ignore[misc]
        relay.set_peers([gone, there])
        relay.set_peers([there])
        poll(lambda: False, 0.2)  # an ended connection still receives for a moment
        eventually(lambda: hears(4))
    finally:
        for each in (relay, other):
            each.stop()


def test_remaining_listener_gets_publications() -> None:
    """When one of two listeners leaves, the other one still gets publications."""
    relay = Relay("n1-relay", "n1", "i", "127.0.0.1")
    relay.start()
    topic = room_topic("lobby")
    try:
        with zmq.Context() as context, context.socket(zmq.SUB) as stays, context.socket(zmq.SUB) as leaves:
            for socket in (stays, leaves):
                socket.linger = 0
                socket.connect(f"tcp://127.0.0.1:{relay.port}")

            def told(socket: zmq.Socket[bytes]) -> bool:
                relay.publish(topic, LogHead("e", 1))
                return bool(socket.poll(int(10 * MS * 1000))) and socket.recv_multipart()[0] == topic

            def silent(socket: zmq.Socket[bytes]) -> None:
                while socket.poll(int(50 * MS * 1000)):
                    socket.recv_multipart()

            for _ in range(2):
                for socket in (stays, leaves):
                    socket.subscribe(topic)
                eventually(lambda: told(stays) and told(leaves))
                leaves.unsubscribe(topic)
                silent(leaves)
                silent(stays)
                eventually(lambda: told(stays))
                stays.unsubscribe(topic)
                silent(stays)
    finally:
        relay.stop()
