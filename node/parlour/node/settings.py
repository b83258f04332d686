"""The settings of a node, each with its unit and the reason for its default.

This module owns the defaults; instances are immutable and read by all threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from parlour.node.log.retention import Retention
from parlour.runtime.broker_rpc import DEFAULT_BROKER

__all__ = ["NodeSettings"]


@dataclass(frozen=True)
class NodeSettings:
    """How one node runs."""

    # Addresses of the brokers, HOST:PORT each; one that answers is enough to start.
    brokers: tuple[str, ...] = (DEFAULT_BROKER,)
    # Where clients connect, HOST:PORT; port 0 takes a free one, which the load reports then tell.
    listen: str = "127.0.0.1:0"
    # HOST:PORT that clients are told to connect to, where it is not the one listened on (a translated address).
    advertise: str | None = None
    # HOST:PORT at which the other nodes hear this one; a free port on the host of `listen` unless given.
    relay: str | None = None
    # The node's name; the host's name and the port unless given.
    name: str | None = None
    # Clients at most: each has a thread, of about 50 KB.
    capacity: int = 10_000
    # URL of the room log; the nodes of one cluster share it.
    log: str = "memory://"
    # What is kept of each room's history, and the seconds between two rounds of having the log forget the rest.
    retention: Retention | None = None
    trim_interval: float = 60.0
    # Seconds between load reports.
    report_interval: float = 1.0
    # Seconds that a new connection has to say hello: one that stays mute would hold a thread.
    hello_deadline: float = 10.0
    # Seconds of silence after which a client is asked whether it is there.
    ping_after: float = 15.0
    # Seconds of silence after which a client is taken for dead.
    dead_after: float = 45.0
    # Rooms that one client may be in at once.
    rooms_per_client: int = 100
    # Bytes of recent frames that a room keeps, for members that fall behind and for those who join.
    ring_bytes: int = 256 * 1024
    # Posts that a room logs in one transaction at most: keeps a batch, and the wait for it, small.
    batch_posts: int = 256
    # Posts that may wait in a room before those who send have to wait themselves.
    queued_posts: int = 4096
    # Seconds a sender waits for place in a full inbox before it is told that the room is busy.
    queue_wait: float = 10.0
    # Bytes of answers that a client may leave unread before it is cut off: it asks and does not listen.
    unread_answers: int = 1024 * 1024
    # Seconds that an early batch is held back for the missing one before the log is read.
    hole_wait: float = 0.005
    # Seconds between a room's presence frames at least; what comes in between is gathered into one.
    presence_interval: float = 1.0
    # Seconds for which a client whose connection broke, or whose node died, is still shown as present: who comes
    # back within them was never seen to leave.
    grace: float = 10.0
    # Seconds that the first to join a room on this node waits for the other nodes to say who is in it.
    roster_wait: float = 0.25
    # Seconds that clients have to go to another node when this one is told by SIGTERM to stop.
    drain_deadline: float = 4.0
    # Clients a second that are asked to move: what the other nodes take in without their rooms waiting.
    move_rate: float = 500.0
    # New clients a second that the node takes in after another one has died; its brokers share it.
    admits: float = 500.0
    # Fraction of batches not handed to the relay, 0 to 1: for proving that holes are mended.
    relay_loss: float = 0.0
    # Addresses by which other nodes' relays are reached, by name, instead of those they tell: for cutting single links.
    relay_via: tuple[tuple[str, str], ...] = ()
