"""A node's watch of its peers: while it cannot hear one, it reads the rooms' last offsets from the log and tells so.

This module owns that watch, which a worker runs every second. It must never read from the log while all peers are
connected, nor begin a round before the last one is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from parlour.node.cluster.peerlink import PeerLinkState
from parlour.node.cluster.relay import Relay
from parlour.runtime.logs import node_log
from parlour.runtime.scheduler import Scheduler
from parlour.wire.control import Peer

__all__ = ["LinkWatch"]

INTERVAL = 1.0
"""Seconds between two rounds: messages from an unheard peer are late by this time and a little more."""

ALERT_AFTER = 5.0
"""Seconds without a link until the operator is told: a node that starts or dies has no link for a moment."""


class LinkWatch:
    """The watch of a node's links to its peers."""

    def __init__(self, relay: Relay, scheduler: Scheduler, check_log: Callable[[], None]) -> None:
        """Call `check_log`, which reads all rooms' last offsets from the log, repeatedly while a peer is unheard."""
        self._relay = relay
        self._scheduler = scheduler
        self._check_log = check_log
        self._alerted: set[Peer] = set()

    def start(self) -> None:
        """Begin to watch; the scheduler's stop ends the watch."""
        self._scheduler.every(INTERVAL, self._watch)

    def states(self) -> list[PeerLinkState]:
        """Return the state of the link to each peer."""
        return list(self._relay.links().values())

    def troubles(self) -> list[str]:
        """Return a line for each peer that has been unheard for `ALERT_AFTER` seconds."""
        return [_line(peer) for peer in self._unheard()]

    def _unheard(self) -> list[Peer]:
        due = time.monotonic() - ALERT_AFTER
        states = self._relay.links().items()
        return [peer for peer, state in states if not state.connected and state.since <= due]

    def _watch(self) -> None:
        if any(not state.connected for state in self.states()):
            self._check_log()
        self._log_changes()

    def _log_changes(self) -> None:
        unheard, there = set(self._unheard()), self._relay.links()
        for peer in unheard - self._alerted:
            node_log.error("%s", _line(peer))
        for peer in self._alerted - unheard:
            if peer in there:
                node_log.info("hears %s again", peer.node)
        self._alerted = unheard


def _line(peer: Peer) -> str:
    return (
        f"cannot hear {peer.node}: no connection to its relay at {peer.relay}: messages from there come a second late, "
        "and its members are not shown: let this machine reach that port"
    )
