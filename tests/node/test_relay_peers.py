"""Peers come and go while they publish: the relay of a node outlives it."""

from __future__ import annotations

import subprocess
import sys

import zmq

from parlour.node.relay import Relay
from parlour.wire.relay import Top, room_topic
from support.waiting import MS, eventually

PROGRAM = """
import threading, time, zmq
from parlour.node.relay import Relay
from parlour.wire.codec import encode
from parlour.wire.control import Peer
from parlour.wire.relay import Top, inbox_topic

stop = threading.Event()
ports = []

def publish():
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
        body = encode(Top("e", 1))
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


def test_a_peer_that_leaves_in_mid_speech_takes_nobody_along() -> None:
    """ZeroMQ aborts the process if a SUB disconnects while it holds the beginning of a publication."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20_000 * MS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_who_still_listens_is_told_when_another_has_left() -> None:
    """What nobody listens to is not published, so each listener must be known for as long as it listens."""
    relay = Relay("n1-relay", "n1", "i", "127.0.0.1")
    relay.start()
    topic = room_topic("lobby")
    try:
        with zmq.Context() as context, context.socket(zmq.SUB) as stays, context.socket(zmq.SUB) as leaves:
            for socket in (stays, leaves):
                socket.linger = 0
                socket.connect(f"tcp://127.0.0.1:{relay.port}")

            def told(socket: zmq.Socket[bytes]) -> bool:
                relay.publish(topic, Top("e", 1))
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
