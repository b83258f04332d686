"""Free ports for tests of programs that need fixed ports.

This module owns the choice; it runs on the test's thread. It must never return the same ports twice in a session, nor a
port of the range that the system uses for outgoing connections.
"""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_ports"]

# Below Linux's ephemeral ports, which begin at 32768. Each worker of a test run has a range of its own.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_range = 12_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_candidates = itertools.count(20_000 + _worker * _range + os.getpid() % 50 * 6)


def free_ports(count: int = 3) -> int:
    """Return the first of `count` ports in a row on 127.0.0.1 where nothing listens."""
    while True:
        ports = list(itertools.islice(_candidates, count))
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return ports[0]
