"""Free ports of this machine, for parts that must come back at the same address.

This module owns the choice of ports; one thread of a round calls it. It must never choose from the range that the
system uses for outgoing connections: another program might take the port while its part is away.
"""

from __future__ import annotations

import random
import socket

from parlour.wire.errors import ParlourError

__all__ = ["HOST", "Ports"]

HOST = "127.0.0.1"
"""The address at which all parts of a round listen."""

# Linux uses ports from 32768 on for outgoing connections; the benchmarks' servers are in between.
LOWEST, HIGHEST = 10_000, 20_000

ATTEMPTS = 1000


class Ports:
    """Gives out free ports, each once."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, count: int = 1) -> int:
        """Return the first of `count` free ports in a row; raises ParlourError if there are none."""
        for _ in range(ATTEMPTS):
            first = random.randrange(LOWEST, HIGHEST)
            ports = set(range(first, first + count))
            if not ports & self._taken and all(map(_is_free, ports)):
                self._taken |= ports
                return first
        raise ParlourError(f"no {count} free ports in a row were found between {LOWEST} and {HIGHEST}: free some")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
