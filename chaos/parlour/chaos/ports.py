"""Free ports on this machine for parts that must be told theirs, so that they come back at the same place.

This module owns the choice; one round asks it, on one thread. It must never choose of the range that the system gives
to connections by itself: there another may take a port while its part is away.
"""

from __future__ import annotations

import random
import socket

from parlour.wire.errors import ParlourError

__all__ = ["HOST", "Ports"]

HOST = "127.0.0.1"
"""Where all of a round happens."""

LOWEST, HIGHEST = 10_000, 20_000  # Linux gives out those from 32768 on, and servers of the bench are between

ATTEMPTS = 1000


class Ports:
    """Gives out ports that nobody listens on, and none of them twice."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, count: int = 1) -> int:
        """Return the first of so many free ports in a row; raises ParlourError if there are none."""
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
