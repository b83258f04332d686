"""The Redis of a round: its contents can be searched, and come back after a kill."""

from __future__ import annotations

import socket
import threading

import pytest

from parlour.chaos.ports import HOST, Ports
from parlour.chaos.reaper import Reaper
from parlour.chaos.server import Server
from support.redis_server import MISSING

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def test_contents() -> None:
    """A value is found as it was written, and an overwritten value is not, also after a kill."""
    port = Ports().take()
    with Reaper() as reaper, Server(reaper, port, threading.Event()) as server:
        server.start()
        for text in ("x" * 50 + "unique", "x" * 50 + "another"):
            with socket.create_connection((HOST, port), 5) as connection:
                connection.sendall(f"SET key {text}\r\n".encode())
                assert connection.recv(64) == b"+OK\r\n"
        server.kill()
        server.start()
        contents = server.contents()
        assert contents.count(b"x" * 50 + b"another") == 1
        assert b"unique" not in contents
