"""The limits under measurement: how long posts of chatters take, with and without flooders in their room.

This module owns the chatters, which run on the bench's own thread, and the flooders, which are a process. It must never
compare rounds of different times: other work on the machine disturbs neighbours alike.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bench.cluster import Limited
from bench.scale import Finding
from bench.server import PATIENCE
from parlour.wire.codec import NodeDecoder, frame
from parlour.wire.errors import ParlourError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Error, Hello, Join, Joined, Message, Say

__all__ = ["limit_findings"]

CHATTERS, FLOODERS = 20, 5

ROOM = "lobby"

SETTLING = 1.0
"""Seconds from the flooders' start to the measurement."""


class _Pair(NamedTuple):
    """Two neighbouring rounds: the 99th percentiles of the deliveries, in milliseconds."""

    calm: float
    flooded: float

    @property
    def ratio(self) -> float:
        """How much longer it takes beside flooders."""
        return self.flooded / self.calm


class _Client:
    """A connection to the node in the room."""

    def __init__(self, port: int, name: str, key: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._decoder = NodeDecoder()
        self.socket.sendall(frame(Hello(name, "", PROTOCOL, key)) + frame(Join(ROOM)))

    def read(self) -> list[object]:
        """Return the messages that have come; raises ConnectionError at the end."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the node ended the connection")
        return list(self._decoder.feed(data))

    def enter(self) -> None:
        """Wait until the room is joined."""
        while not any(isinstance(message, Joined) for message in self.read()):
            pass


class _Flooder:
    """A client that posts without end; when it is cut off, it goes on with the same session."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = name
        self._last_id = 0
        self._unsent = b""
        self.client: _Client | None = None

    def connect(self) -> None:
        """Connect, if that is needed and possible now."""
        if self.client is None:
            with suppress(OSError):
                self.client = _Client(self._port, self._name, key=self._name)
                self.client.socket.setblocking(False)
                self._unsent = b""

    def work(self) -> None:
        """Read and drop what has come, and send what the socket takes."""
        assert self.client is not None
        sock = self.client.socket
        try:
            with suppress(BlockingIOError):
                if not sock.recv(1 << 16):
                    raise ConnectionError
            if not self._unsent:
                ids = range(self._last_id + 1, self._last_id + 1001)
                self._unsent = b"".join(frame(Say(ROOM, number, "flood")) for number in ids)
                self._last_id = ids[-1]
            with suppress(BlockingIOError):
                self._unsent = self._unsent[sock.send(self._unsent) :]
        except OSError:
            sock.close()
            self.client = None


def _flood(port: int, number: int) -> None:
    """Post as fast as the node lets us, on all flooders' connections, until this process is ended."""
    flooders = [_Flooder(port, f"flooder{number + each}") for each in range(FLOODERS)]
    while True:
        for flooder in flooders:
            flooder.connect()
        by_socket = {flooder.client.socket: flooder for flooder in flooders if flooder.client is not None}
        readable, writable, _ = select.select(list(by_socket), list(by_socket), [], 0.1)
        for sock in {*readable, *writable}:
            by_socket[sock].work()


@contextmanager
def _flooders(port: int, number: int) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_flood, args=(port, number), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(PATIENCE)


def _percentile(clients: list[_Client], mark: str, seconds: float) -> float:
    """Let each client post once a second; return the 99th percentile of all deliveries, in milliseconds."""
    by_socket = {client.socket: client for client in clients}
    sent: dict[str, float] = {}
    taken: list[float] = []
    expected = round(seconds * len(clients))
    began = time.monotonic()
    deadline = began + seconds + PATIENCE
    while len(taken) < expected * len(clients):
        now = time.monotonic()
        if now > deadline:
            raise ParlourError(f"{expected * len(clients) - len(taken)} deliveries did not come")
        due = began + len(sent) / len(clients)
        if len(sent) < expected and now >= due:
            client, text = clients[len(sent) % len(clients)], f"{mark}-{len(sent)}"
            sent[text] = now
            client.socket.sendall(frame(Say(ROOM, time.monotonic_ns() // 1000, text)))
            continue
        wait = due - now if len(sent) < expected else 0.1
        for sock in select.select(list(by_socket), [], [], wait)[0]:
            for message in by_socket[sock].read():
                if isinstance(message, Error):
                    raise ParlourError(f"a chatter was refused: {message.text}")
                if isinstance(message, Message) and message.text in sent:
                    taken.append(time.monotonic() - sent[message.text])
    return statistics.quantiles(taken, n=100)[-1] * 1000


def limit_findings(pairs: int, seconds: float) -> Iterator[Finding]:
    """Measure so many pairs of rounds of so many seconds; yield each, and the median of their ratios."""
    ratios: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Limited(Path(folder)) as server:
        for pair in _pairs(server.node_port, pairs, seconds):
            ratios.append(pair.ratio)
            figure = f"{pair.calm:.2f} ms, beside {FLOODERS} flooders {pair.flooded:.2f} ms"
            yield Finding(f"p99 of {CHATTERS} chatters, pair {len(ratios)}", figure, "")
    yield Finding("how much longer it takes, in the median", f"{statistics.median(ratios):.2f} times", "at most 1.3")


def _pairs(port: int, count: int, seconds: float) -> Iterator[_Pair]:
    with ExitStack() as opened:
        clients = [_Client(port, f"chatter{number}") for number in range(CHATTERS)]
        for client in clients:
            opened.enter_context(client.socket)
            client.enter()
        for number in range(count):
            calm = _percentile(clients, f"calm{number}", seconds)
            with _flooders(port, 1000 * number):
                # Posts on the way keep the chatters' sockets empty meanwhile.
                _percentile(clients, f"settling{number}", SETTLING)
                flooded = _percentile(clients, f"flooded{number}", seconds)
            yield _Pair(calm, flooded)
