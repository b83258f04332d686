"""The proxy between clients and nodes: it passes everything on, and cuts in the middle of a message."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from parlour.chaos.part import Part, module
from parlour.chaos.ports import HOST, Ports
from parlour.chaos.proxy import FORGETFUL, LinkState
from parlour.chaos.reaper import Reaper
from parlour.wire.codec import ClientDecoder, frame
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import ClientMessage, Enter, Hello, Join, Message, Say
from support.lines import line

HELLO = frame(Hello("ada", "ticket", PROTOCOL))
TEXT = Message("lobby", 1, "s-1", "bob", 1, "x" * 100)

HELLOS = [pytest.param(HELLO, id="frames"), pytest.param(line(Enter("ada")) + line(Hello("ada")), id="lines")]
"""The first bytes of a client."""


class LineReader:
    """Reads what a client says in JSON lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[ClientMessage]:
        """Yield the messages that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return (msgspec.json.decode(each, type=ClientMessage) for each in lines)


class Between:
    """A proxy, and both ends of a connection through it."""

    def __init__(self, *options: str, link: str = "") -> None:
        ports = Ports()
        self.reaper = Reaper()
        self.door, self.port = ports.take(), ports.take()
        self.node = socket.create_server((HOST, self.port))
        command = module("parlour.chaos.proxy", *options, f"{link}{self.door}:{self.port}")
        self.proxy = Part("proxy", command, self.reaper, threading.Event())

    @contextmanager
    def connected(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Give both ends of a connection through the proxy."""
        self.proxy.start()
        self.node.settimeout(5)
        with self.reaper, self.proxy, self.node, socket.create_connection((HOST, self.door), 5) as client:
            server, _ = self.node.accept()
            with server:
                server.settimeout(5)
                yield client, server


def read(end: socket.socket, size: int) -> bytes:
    """Return so many bytes."""
    data = b""
    while len(data) < size:
        data += end.recv(size - len(data))
    return data


def drain(end: socket.socket) -> bytes:
    """Return what comes until the connection is reset."""
    data = b""
    with pytest.raises(ConnectionResetError):  # noqa: PT012
        while piece := end.recv(1 << 16):
            data += piece
    return data


def test_bytes_pass_unchanged() -> None:
    """Bytes pass both ways unchanged, more than any buffer holds, and so do the ends of connections."""
    with Between().connected() as (client, server):
        much = bytes(range(256)) * 40_000
        client.sendall(HELLO)
        assert read(server, len(HELLO)) == HELLO
        sender = threading.Thread(target=server.sendall, args=(much,))
        sender.start()
        assert read(client, len(much)) == much
        sender.join(10)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.sendall(b"last")
        server.close()
        assert read(client, 4) == b"last"
        assert client.recv(1) == b""


@pytest.mark.parametrize("half", ["up", "down"])
@pytest.mark.parametrize("hello", HELLOS)
def test_connection_is_cut_in_mid_message(half: str, hello: bytes) -> None:
    """The reader of the cut half gets the beginning of a message, then both ends are reset; the proxy tells when."""
    between = Between()
    with between.connected() as (client, server):
        client.sendall(hello)
        read(server, len(hello))
        between.proxy.tell(f"{half} ada")
        between.proxy.tell(f"{half} nobody")
        assert between.proxy.hear() == ""  # no client has this name
        source, target = (client, server) if half == "up" else (server, client)
        text = frame(TEXT) if hello is HELLO else line(TEXT)
        source.sendall(text)
        assert text.startswith(got := drain(target))
        assert len(got) < len(text)
        drain(source)
        assert between.proxy.hear() == "ada"


def test_silent_connection_is_cut() -> None:
    """A connection on which no message comes is reset all the same."""
    between = Between()
    with between.connected() as (client, server):
        client.sendall(HELLO)
        read(server, len(HELLO))
        between.proxy.tell("down ada")
        assert between.proxy.hear() == "ada"
        assert drain(client) == b""


def test_absent_node_refuses() -> None:
    """A client that comes while the node does not listen is reset at once."""
    between = Between()
    with between.connected() as (_, server):
        between.node.close()
        server.close()
        # The reset may come before the connection is even made.
        with pytest.raises(ConnectionResetError), socket.create_connection((HOST, between.door), 5) as other:
            other.recv(1)


@pytest.mark.parametrize(
    ("encode", "decoder"), [pytest.param(frame, ClientDecoder, id="frames"), pytest.param(line, LineReader, id="lines")]
)
def test_forgetful_proxy(encode: Callable[[object], bytes], decoder: Callable[[], Any]) -> None:
    """The forgetful proxy removes the position from joins, and passes everything else on."""
    said = [Hello("ada", "ticket", PROTOCOL), Join("lobby", after=7, epoch="e"), Say("lobby", 1, "hi")]
    with Between(FORGETFUL).connected() as (client, server):
        client.sendall(b"".join(map(encode, said)))
        reader = decoder()
        got: list[object] = []
        while len(got) < 3:
            got += reader.feed(server.recv(1 << 16))
        assert got == [said[0], Join("lobby"), said[2]]


def switch(between: Between, state: LinkState) -> None:
    """Put the link into a state, and wait until it is in it."""
    between.proxy.tell(f"{state} n1>n2")
    assert between.proxy.hear() == "n1>n2"


def test_closed_link() -> None:
    """A closed link resets both ends and refuses others; when it is open again, bytes pass."""
    between = Between(link="n1>n2:open:")
    with between.connected() as (client, server):
        client.sendall(b"any bytes")
        assert read(server, 9) == b"any bytes"
        switch(between, LinkState.CLOSED)
        assert drain(client) == drain(server) == b""
        with pytest.raises(ConnectionResetError), socket.create_connection((HOST, between.door), 5) as other:
            other.recv(1)
        switch(between, LinkState.OPEN)
        with socket.create_connection((HOST, between.door), 5) as other:
            other.sendall(b"again")
            node, _ = between.node.accept()
            with node:
                assert read(node, 5) == b"again"


def test_silent_link() -> None:
    """A silent link passes no bytes, no ends and no new connections; when it is open again, all of them pass."""
    between = Between(link="n1>n2:open:")
    with between.connected() as (client, server):
        switch(between, LinkState.SILENT)
        client.sendall(b"late")
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.recv(1)
        with socket.create_connection((HOST, between.door), 5) as other:
            other.sendall(b"too")
            between.node.settimeout(0.2)
            with pytest.raises(TimeoutError):
                between.node.accept()
            client.shutdown(socket.SHUT_WR)
            switch(between, LinkState.OPEN)
            server.settimeout(5)
            between.node.settimeout(5)
            assert read(server, 4) == b"late"
            assert server.recv(1) == b""
            node, _ = between.node.accept()
            with node:
                assert read(node, 3) == b"too"


def test_silent_link_is_closed() -> None:
    """A silent link may be closed: its connections are reset."""
    between = Between(link="n1>n2:open:")
    with between.connected() as (client, server):
        switch(between, LinkState.SILENT)
        switch(between, LinkState.SILENT)
        switch(between, LinkState.CLOSED)
        assert drain(client) == drain(server) == b""


@pytest.mark.parametrize("state", [LinkState.CLOSED, LinkState.SILENT])
def test_link_is_cut_from_the_start(state: LinkState) -> None:
    """Nothing passes until the link is opened."""
    between = Between(link=f"n1>n2:{state}:")
    between.proxy.start()
    with between.reaper, between.proxy, between.node:
        between.node.settimeout(0.2)
        if state is LinkState.CLOSED:
            with pytest.raises(ConnectionResetError), socket.create_connection((HOST, between.door), 5) as other:
                other.recv(1)
        with pytest.raises(TimeoutError):
            between.node.accept()
        switch(between, LinkState.OPEN)
        between.node.settimeout(5)
        with socket.create_connection((HOST, between.door), 5):
            between.node.accept()[0].close()
