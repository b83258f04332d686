"""The ports where clients reach the nodes of a cluster: the same ones at every start, as far as they are free.

This module owns the choice; it runs on the main thread. It must never hold a port open, so another program may take
a port between the choice and the start of the node; `lost` tells.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from parlour.cli.state import Setup
from parlour.runtime.addresses import numeric_address
from parlour.wire.errors import ParlourError, UsageError
from parlour.wire.limits import parse_address

__all__ = ["NodePorts"]

ABOVE_BROKER = 10
"""Distance from the broker's port to the first node's. The broker itself takes three ports in a row."""

NEAR = 100
"""Ports to try for a node, beginning with its own."""

LAST = 65535
"""The highest port number."""


class NodePorts:
    """The ports of one cluster's nodes: n1 gets the first port, n2 the next, and so on, without ports in use.

    Attributes:
        chosen: the port of each node, by the node's name; at first the ports that the nodes had before.
    """

    def __init__(self, broker: str, setup: Setup, before: Mapping[str, int] | None = None) -> None:
        """Raise UsageError if there are fewer ports than nodes up to the highest port number."""
        self.chosen = dict(before or {})
        self._names = setup.names
        self._host, _, port = (setup.listen or broker).rpartition(":")
        self._first = int(port) if setup.listen else int(port) + ABOVE_BROKER
        # The broker and the nodes serve metrics at these ports. Nodes that have not started do not use theirs yet.
        self._metrics = range(0)
        if setup.metrics is not None:
            _, first = parse_address(setup.metrics)
            self._metrics = range(first, first + 1 + setup.nodes)
        available = max(0, LAST + 1 - self._first)
        if self._first and available < setup.nodes:
            raise UsageError(
                f"there is no port above {LAST} for node {setup.names[available]}: "
                "choose lower ones with --listen HOST:PORT"
            )

    def choose(self, name: str) -> str:
        """Return the address where a node shall listen: with the port that it had before, else the next free one.

        Raises ParlourError if no port is free, or if this machine cannot listen at the host.
        """
        if self._first == 0:
            return f"{self._host}:0"
        own = self._first + self._names.index(name)
        near = range(own, min(own + NEAR, LAST + 1))
        others = {port for other, port in self.chosen.items() if other != name}
        for port in [self.chosen.get(name, own), *near]:
            if port not in others and port not in self._metrics and self._free(port):
                self.chosen[name] = port
                return f"{self._host}:{port}"
        raise ParlourError(
            f"ports {near[0]} to {near[-1]} of {self._host} are all in use: choose others with --listen HOST:PORT"
        )

    def lost(self, name: str) -> bool:
        """Whether another program has taken the port of this node; the node itself must not run."""
        return name in self.chosen and not self._free(self.chosen[name])

    def _free(self, port: int) -> bool:
        address = f"{self._host}:{port}"
        try:
            number = numeric_address(parse_address(address)[0])
        except ParlourError as error:
            raise ParlourError(f"{error}: choose another with --listen") from None
        with socket.socket(socket.AF_INET6 if ":" in number else socket.AF_INET) as probe:
            # A node sets this option, too, so that connections of an earlier node that have just ended do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((number, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                raise ParlourError(
                    f"cannot listen on {address} ({error.strerror}): choose another with --listen"
                ) from None
        return True
