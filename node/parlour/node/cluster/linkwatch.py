"""A node's watch of its peers: while one cannot be heard, it reads the rooms' state from the log, and says so.

This module owns that watch, which a worker runs every second. It must never read from the log while all peers are
heard, nor begin a round before the last one is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from parlour.node.cluster.peerlink import LinkState
from parlour.node.cluster.relay import Relay
from parlour.runtime.logs import node_log
from parlour.runtime.scheduler import Scheduler
from parlour.wire.control import Peer

__all__ = ["LinkWatch"]

EVERY = 1.0
"""Seconds from one look to the next: a message from a peer that is not heard comes so late, and a little more."""

TOLD = 5.0
"""Seconds without a link before the operator is told: a node that starts or dies is unheard for a moment."""


class LinkWatch:
    """The watch over a node's links to its peers."""

    def __init__(self, relay: Relay, scheduler: Scheduler, look: Callable[[], None]) -> None:
        """Call `look`, which reads from the log where all rooms stand, again and again while a peer is not heard."""
        self._relay = relay
        self._scheduler = scheduler
        self._look = look
        self._told: set[Peer] = set()

    def start(self) -> None:
        """Begin to watch; it ends with the scheduler."""
        self._scheduler.every(EVERY, self._watch)

    def states(self) -> list[LinkState]:
        """Return how the link to each peer is."""
        return list(self._relay.links().values())

    def troubles(self) -> list[str]:
        """Return a line for each peer that was not heard for long enough to tell it."""
        return [_line(peer) for peer in self._unheard()]

    def _unheard(self) -> list[Peer]:
        due = time.monotonic() - TOLD
        states = self._relay.links().items()
        return [peer for peer, state in states if not state.connected and state.since <= due]

    def _watch(self) -> None:
        if any(not state.connected for state in self.states()):
            self._look()
        self._tell()

    def _tell(self) -> None:
        unheard, there = set(self._unheard()), self._relay.links()
        for peer in unheard - self._told:
            node_log.error("%s", _line(peer))
        for peer in self._told - unheard:
            if peer in there:
                node_log.info("hears %s again", peer.node)
        self._told = unheard


def _line(peer: Peer) -> str:
    return (
        f"cannot hear {peer.node}: no connection to its relay at {peer.relay}: what is said there comes a second late, "
        "and its members are not shown: let this machine reach that port"
    )
