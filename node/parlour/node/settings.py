"""The settings of a node, each with its unit and the reason for its default.

This module owns the defaults; instances are immutable, and all threads read them.
"""

from __future__ import annotations

from dataclasses import dataclass

from parlour.node.log.retention import Retention
from parlour.runtime.broker_rpc import DEFAULT_BROKER

__all__ = ["NodeSettings"]


@dataclass(frozen=True)
class NodeSettings:
    """The settings of one node."""

    # Addresses of the brokers, HOST:PORT each; a node starts if one of them answers.
    brokers: tuple[str, ...] = (DEFAULT_BROKER,)
    # Address for clients, HOST:PORT; port 0 takes a free port, which the load reports then tell.
    listen: str = "127.0.0.1:0"
    # Address that clients are told, HOST:PORT, if it differs from `listen` (a translated address).
    advertise: str | None = None
    # Address for the other nodes, HOST:PORT; if None, a free port on the host of `listen`.
    relay: str | None = None
    # The node's name; if None, the host's name and the port.
    name: str | None = None
    # The largest number of clients: each has a thread, of about 50 KB.
    capacity: int = 10_000
    # URL of the room log; the nodes of one cluster share it.
    log: str = "memory://"
    # Who may make an account: anybody ("open"), people with an invitation ("invite"), or operators alone ("closed").
    registration: str = "invite"
    # Whether people without an account may come in; if None, on loopback alone.
    guests: bool | None = None
    # Files with the key (PEM, or a secret word) or the keys (a JSON Web Key Set) that sign the tokens of the operator's
    # own site; None: no such tokens are taken.
    jwt_key: str | None = None
    jwks: str | None = None
    # The claims of such a token that tell the account's name, and whether it is an operator (None: never).
    jwt_name_claim: str = "sub"
    jwt_operator_claim: str | None = None
    # The messages to keep in each room, and the seconds between two rounds of trimming the others.
    retention: Retention | None = None
    trim_interval: float = 60.0
    # Posts a second that a person may say, with a burst of ten seconds' worth; other requests count as several posts. 0
    # for no limit. An account may have a rate of its own.
    post_rate: float = 30.0
    # Connections a second from one address (a /64 of IPv6), with a burst of ten seconds' worth; a sign-in counts as one
    # more, or as five with a password. 0 for no limit; loopback has none.
    address_rate: float = 50.0
    # Seconds between load reports.
    report_interval: float = 1.0
    # Seconds for a new connection to say hello: a silent one would hold a thread.
    hello_deadline: float = 10.0
    # Seconds of silence after which a client is pinged.
    ping_after: float = 15.0
    # Seconds of silence after which a client counts as dead.
    dead_after: float = 45.0
    # Rooms that one client may be in at once.
    rooms_per_client: int = 100
    # Bytes of recent frames that a room keeps, for members that fall behind or join.
    ring_bytes: int = 256 * 1024
    # Posts that a room logs in one transaction, at most: a small batch is a short wait.
    batch_posts: int = 256
    # Posts that may wait in a room's queue; further senders wait themselves.
    queued_posts: int = 4096
    # Seconds for which a sender waits for a place in a full queue, until it is told that the room is busy.
    queue_wait: float = 10.0
    # Bytes of answers that a client may leave unread; then it is cut off, because it asks and does not read.
    unread_answers: int = 1024 * 1024
    # Seconds for which an early batch waits for the missing one, until the log is read.
    hole_wait: float = 0.005
    # Seconds between a room's presence frames, at least; changes in between go into one frame.
    presence_interval: float = 1.0
    # Seconds for which a client is still shown as present after its connection broke or its node died. If it comes back
    # in time, nobody saw it leave.
    grace: float = 10.0
    # Seconds for which the first client that joins a room here waits for the other nodes to tell the room's members.
    roster_wait: float = 0.25
    # Seconds for clients to go to another node after SIGTERM told this node to stop.
    drain_deadline: float = 4.0
    # Clients a second that are asked to move: the other nodes take in so many without delaying their rooms.
    move_rate: float = 500.0
    # New clients a second that the node takes in after another node died; its brokers share this rate.
    admits: float = 500.0
    # Fraction of batches that the relay drops, 0 to 1: for tests of the repair.
    relay_loss: float = 0.0
    # Addresses of other nodes' relays, by the nodes' names, instead of the reported ones: to cut single links in tests.
    relay_via: tuple[tuple[str, str], ...] = ()
