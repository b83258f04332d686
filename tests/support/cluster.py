"""A broker and nodes in this process, on free ports, with clients of the library and raw clients.

This module owns nothing that outlives a test: `cluster` closes everything that it started. The parts run on their own
threads, a `RawClient` on the test's. A raw client must never do more than a socket and a decoder do.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from parlour.broker import Broker, BrokerSettings
from parlour.client import Chat, connect
from parlour.node import Node, NodeSettings
from parlour.runtime.broker_rpc import ask
from parlour.wire.codec import FrameDecoder, NodeDecoder, frame
from parlour.wire.control import Assign, Assigned, Decisions, FleetStatus, Status, Why
from parlour.wire.limits import PROTOCOL, parse_address
from parlour.wire.messages import Hello, Join, Joined, Members, Message, Move, NodeMessage, Say, Welcome
from support.lines import LineDecoder, line
from support.waiting import MS, eventually

__all__ = ["Cluster", "RawClient", "cluster", "fleet", "quick_cluster"]

_numbers = itertools.count()

M = TypeVar("M", bound=NodeMessage)


class RawClient:
    """A client made of a socket and a decoder; every read has a deadline.

    It speaks JSON lines if `lines` is set, for the client or for the whole class.
    """

    lines = False

    def __init__(
        self,
        broker: str,
        name: str,
        node: str | None = None,
        timeout: float = 20.0,
        key: str = "",
        protocol: str = PROTOCOL,
        lines: bool | None = None,
        **fields: Any,
    ) -> None:
        """Say hello with a ticket and these fields."""
        if lines is not None:
            self.lines = lines
        _, reply = ask([broker], Assign(name, node=node, protocol=PROTOCOL))
        assert isinstance(reply, Assigned)
        self._enter(name, reply.node, reply.address, Hello(name, reply.ticket, protocol, key, **fields), timeout)

    def _enter(self, name: str, node: str, address: str, hello: Hello, timeout: float) -> None:
        self.name = name
        self.node = node
        self._connect(address, timeout)
        try:
            self.send(hello)
            self.session = self.get(Welcome).session
        except BaseException:
            self.socket.close()
            raise

    def _connect(self, address: str, timeout: float) -> None:
        self.socket = socket.create_connection(parse_address(address), timeout=timeout * 1000 * MS)
        self._decoder: FrameDecoder[NodeMessage] | LineDecoder = LineDecoder() if self.lines else NodeDecoder()
        self.heard: list[NodeMessage] = []
        self._said = 0

    @classmethod
    def unwelcomed(cls, address: str) -> RawClient:
        """Return a client that has connected to a node and said nothing."""
        new = cls.__new__(cls)
        new._connect(address, 5.0)
        return new

    def follow(self, move: Move, key: str) -> RawClient:
        """Return a client that connects to the node of a `move` to this one, with the same key."""
        new = RawClient.__new__(RawClient)
        new._enter(self.name, move.node, move.address, Hello(self.name, move.ticket, PROTOCOL, key), 5.0)
        return new

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self, *messages: object) -> None:
        """Send the messages in one piece."""
        self.socket.sendall(b"".join(map(line if self.lines else frame, messages)))

    def read(self) -> None:
        """Read at least one byte; raises ConnectionError at the end, or TimeoutError."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the node closed the connection")
        self.heard += self._decoder.feed(data)

    def get(self, kind: type[M]) -> M:
        """Return the next message of a kind; keep the others for later."""
        while True:
            for index, message in enumerate(self.heard):
                if isinstance(message, kind):
                    del self.heard[index]
                    return message
            self.read()

    def join(self, room: str, **fields: object) -> Joined:
        """Join a room, and wait for its first list of names."""
        self.send(Join(room, **fields))  # type: ignore[arg-type]
        joined = self.get(Joined)
        self.get(Members)
        return joined

    def post(self, room: str, text: str, kind: str = "", ref: int = 0, **data: object) -> int:
        """Post a record; return its id."""
        self._said += 1
        self.send(Say(room, self._said, text, kind, ref, data))
        return self._said

    def say(self, room: str, *texts: str) -> None:
        """Post texts in one piece, with rising ids."""
        posts: list[Say] = []
        for text in texts:
            self._said += 1
            posts.append(Say(room, self._said, text))
        self.send(*posts)

    def texts(self, count: int) -> list[str]:
        """Return the texts of the next messages."""
        return [self.get(Message).text for _ in range(count)]


def fleet(broker: str) -> FleetStatus:
    """Return the broker's status."""
    _, reply = ask([broker], Status())
    assert isinstance(reply, FleetStatus)
    return reply


class Cluster:
    """A broker and its nodes, all started, and everything else to close before them."""

    def __init__(self, broker: Broker, settings: NodeSettings, closing: ExitStack) -> None:
        self.broker = broker
        self.nodes: list[Node] = []
        self.closing = closing
        self._settings = settings

    @property
    def address(self) -> str:
        """The broker's address."""
        return self.broker.address

    def add_node(self, name: str, **changes: Any) -> Node:
        """Start a node with these changes to the cluster's settings, and return when it is in the fleet."""
        node = Node(replace(self._settings, **{"name": name, "brokers": (self.address,), **changes}))
        node.start()
        self.closing.callback(node.stop)
        self.nodes.append(node)
        return node

    def acquainted(self) -> bool:
        """Whether every node knows every other node."""
        return all(len(node.peers()) == len(self.nodes) - 1 for node in self.nodes)

    @contextmanager
    def clients(self, *names: str, room: str | None = None, mixed: bool = False) -> Iterator[list[RawClient]]:
        """Connect clients of these names, spread over the nodes, perhaps in a room already.

        If they are `mixed`, the first clients (one for each node) speak frames, the next ones JSON lines, and so on.
        """
        with ExitStack() as closing:
            clients: list[RawClient] = []
            for index, name in enumerate(names):
                node = self.nodes[index % len(self.nodes)].name
                lines = mixed and index // len(self.nodes) % 2 == 1
                clients.append(closing.enter_context(self._enter(name, node, lines or None)))
                if room is not None:
                    clients[-1].join(room)
            yield clients

    def _enter(self, name: str, node: str, lines: bool | None) -> RawClient:
        """Connect a raw client; a node may not have noticed yet that the one of this name before has gone."""
        entered: list[RawClient] = []

        def enter() -> bool:
            with suppress(ConnectionError):
                entered.append(RawClient(self.address, name, node, lines=lines))
            return bool(entered)

        eventually(enter, 5, f"{name} is let in")
        return entered[0]

    def chat(self, name: str, password: str = "") -> Chat:
        """Connect with the library under this name; with a password, to the account."""
        return self.closing.enter_context(connect(self.address, name, password=password))

    def node_of(self, chat: Chat) -> Node:
        """Return the node of a chat."""
        return next(node for node in self.nodes if node.name == chat.node)

    def node_where(self, name: str) -> Node:
        """Return the node to which the broker sent the client of this name."""
        _, reply = ask([self.address], Why(name))
        assert isinstance(reply, Decisions)
        return next(node for node in self.nodes if node.name == reply.found[0].node)


@contextmanager
def quick_cluster(nodes: int = 0) -> Iterator[Cluster]:
    """Run a broker and nodes with short intervals until the block ends."""
    settings = NodeSettings(capacity=500, report_interval=0.1, presence_interval=50 * MS, roster_wait=0.1)
    with cluster(nodes, settings, BrokerSettings(retry_after=0.1, settle=0.1)) as running:
        yield running


@contextmanager
def cluster(
    nodes: int = 1, settings: NodeSettings | None = None, broker: BrokerSettings | None = None
) -> Iterator[Cluster]:
    """Run a broker and nodes n1, n2, … that share a log, until the block ends.

    They have no limit of posts, unless the settings give one: tests post fast.
    """
    settings = settings or NodeSettings(presence_interval=50 * MS)
    if settings.post_rate == NodeSettings.post_rate:
        settings = replace(settings, post_rate=0.0)
    if settings.log == "memory://":
        settings = replace(settings, log=f"memory://cluster-{next(_numbers)}")
    with ExitStack() as closing:
        service = Broker(replace(broker or BrokerSettings(), bind="127.0.0.1:0"))
        service.start()
        closing.callback(service.stop)
        running = Cluster(service, settings, closing)
        for number in range(nodes):
            running.add_node(f"n{number + 1}")
        eventually(running.acquainted, what="every node knows every other")
        yield running
