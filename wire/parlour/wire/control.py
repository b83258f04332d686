"""The control messages between broker, nodes, clients and monitors over ZeroMQ: requests, replies, reports, the feed.

This module owns the fields of the control messages and of the ticket; each is one MessagePack map in one ZeroMQ frame.
Instances are immutable, and any thread may use them. It must never depend on the socket that carries a message.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from parlour.wire.limits import MAX_NAME, PROTOCOL, Count, Figure, Moment, Seconds, check_name, check_public_room

__all__ = [
    "Assign",
    "Assigned",
    "Candidate",
    "Decision",
    "Decisions",
    "Describe",
    "Described",
    "Drain",
    "Enroll",
    "Enrolled",
    "Feed",
    "FleetStatus",
    "NodeList",
    "NodeState",
    "Order",
    "Ordered",
    "Peer",
    "Rebalance",
    "Refusal",
    "Refused",
    "Reply",
    "Report",
    "Request",
    "Status",
    "Ticket",
    "Transfer",
    "Why",
    "is_here",
]

_Port = Annotated[int, Meta(ge=1, le=65535)]


class _Control(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """The root of all control messages: a MessagePack map whose `type` names the class."""


# --- reports of nodes, and the feed ---------------------------------------------------------------------------


class Report(_Control, frozen=True, tag="report", omit_defaults=False):
    """A node's load, published every `interval` seconds and at once on a step change; rates are per second."""

    # No default is omitted: a reader would take a missing version for its own.

    node: str
    instance: str  # a random word, new at each start of the node
    address: str  # HOST:PORT where clients connect
    relay: str  # HOST:PORT of the node's XPUB, for the other nodes
    log: str  # the room log's identity: nodes of one cluster share it
    capacity: Count  # the largest number of clients
    clients: Count = 0
    rooms: Count = 0
    redeemed: list[str] = []  # ids of redeemed tickets, each in three reports because one may be lost
    messages_in: Figure = 0.0
    messages_out: Figure = 0.0
    bytes_in: Figure = 0.0
    bytes_out: Figure = 0.0
    wait_p50: Figure = 0.0  # milliseconds from a post's arrival to the end of its delivery
    wait_p99: Figure = 0.0
    lagging: Count = 0  # connections that read too slowly now
    cpu: Figure = 0.0  # cores in use, 1.0 is one whole core
    memory: Count = 0  # resident bytes
    draining: bool = False
    stopping: bool = False  # whether this is the node's last report
    interval: Figure = 1.0
    protocol: str = PROTOCOL
    version: str = ""
    admits: Figure = 500.0  # new clients per second that the node can take
    orders: list[str] = []  # ids of the last orders to move clients
    troubles: list[str] = []  # a line for each trouble that the operator has to mend
    encodings: Count = 0  # encodings of batches since the node's start: one for each variant of a batch's members

    def __post_init__(self) -> None:
        force_setattr(self, "node", check_name(self.node))


class Peer(Struct, frozen=True):
    """A node, as other nodes know it."""

    node: str
    instance: str
    relay: str


class NodeList(_Control, frozen=True, tag="roster"):
    """The nodes that count as alive at a broker.

    `settled` is false while the broker is too young to know all nodes: then an absent node may be alive.
    """

    broker: str
    nodes: list[Peer]
    settled: bool
    at: Moment = 0  # the broker's time, in ms since the Unix epoch; 0: unknown


class Refusal(_Control, frozen=True, tag="refusal"):
    """A node whose reports the broker refuses, and the reason."""

    node: str
    instance: str
    text: str
    code: str = ""  # the code that `refused` would have: "name_taken", "other_log", "bad_version"


class Candidate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A node as the balancer saw it when it decided: load is (clients + pending + credit) ÷ weight."""

    node: str
    load: Figure
    clients: Count
    pending: Count  # clients assigned since its last report
    capacity: Count
    age: Figure  # seconds since its last report
    note: str = ""  # the reason against this node, if there is one


class Decision(_Control, frozen=True, tag="decision"):
    """One assignment, with its reasons. `node` is None if no node could take the client."""

    at: Moment  # milliseconds since the Unix epoch
    name: str
    room: str | None
    node: str | None
    reason: str
    candidates: list[Candidate]
    others: Count = 0  # the number of nodes with higher load that are not listed
    code: str = ""  # without a node, the code that `refused` has: "no_node", "full" or "storm"


class Transfer(Struct, frozen=True):
    """A number of clients that go from one node to another."""

    to: str
    clients: Count


class Order(_Control, frozen=True, tag="order"):
    """An order of a broker to a node, published on the topic `order.NODE`.

    With `drain` the node moves all its clients to other nodes within `deadline` seconds, and stops; else it makes the
    transfers in `moves`, once for each `id`.
    """

    node: str
    instance: str
    drain: bool = False
    deadline: Seconds = 0.0
    moves: list[Transfer] = []
    id: Annotated[str, Meta(max_length=MAX_NAME)] = ""  # the node's reports list the ids of followed orders


Feed = Report | NodeList | Refusal | Decision | Order
"""The messages on the feed; nodes publish reports alone."""


# --- requests to a broker ------------------------------------------------------------------------------------


class Describe(_Control, frozen=True, tag="describe"):
    """Asks a broker for its ports. Answered by `described`."""


class Assign(_Control, frozen=True, tag="assign"):
    """Asks which node a client should go to. Answered by `assigned` or `refused`.

    `failed` names nodes that the client could not reach just now; `node` asks for a certain node.
    """

    name: str
    room: str | None = None
    node: str | None = None
    failed: list[str] = []
    protocol: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "name", check_name(self.name))
        if self.room is not None:
            force_setattr(self, "room", check_public_room(self.room))


class Enroll(_Control, frozen=True, tag="enroll"):
    """Asks whether a node, with its first report, may join the fleet. Answered by `enrolled` or `refused`."""

    report: Report


class Status(_Control, frozen=True, tag="status"):
    """Asks for the state of the fleet. Answered by `fleet`."""


class Why(_Control, frozen=True, tag="why"):
    """Asks for the decisions about the client of this name, or about clients that asked for this room.

    Answered by `decisions`.
    """

    subject: str


class Drain(_Control, frozen=True, tag="drain"):
    """Asks the broker to order a node to move its clients away and stop within `deadline` seconds.

    Answered by `ordered`.
    """

    node: str
    deadline: Figure = 30.0


class Rebalance(_Control, frozen=True, tag="rebalance"):
    """Asks the broker to order nodes with too many clients to move some to the others; with `plan`, only to tell how.

    Answered by `ordered`.
    """

    plan: bool = False


Request = Describe | Assign | Enroll | Status | Why | Drain | Rebalance
"""The requests to a broker."""


# --- replies of a broker -------------------------------------------------------------------------------------


class Described(_Control, frozen=True, tag="described", omit_defaults=False):
    """The ports of a broker's other two sockets, on the host that answered the request."""

    # No default is omitted: a reader would take a missing version for its own.

    broker: str  # a random word, new at each start of the broker
    reports: _Port  # SUB: nodes connect a PUB here
    feed: _Port  # XPUB: subscribe to `report.`, `roster`, `refusal.`, `decision`, `order.`
    protocol: str = PROTOCOL
    version: str = ""


class Assigned(_Control, frozen=True, tag="assigned"):
    """The node for a client, and a ticket for it, which is valid for `expires_in` seconds."""

    node: str
    address: str
    ticket: str
    expires_in: Seconds


class Refused(_Control, frozen=True, tag="refused"):
    """A refusal. `retry_after` (seconds) is given if trying again may help."""

    code: str
    text: str
    retry_after: Seconds | None = None


class Enrolled(_Control, frozen=True, tag="enrolled"):
    """The node is in the fleet."""


class NodeState(Struct, frozen=True):
    """A node as the broker sees it: its last report, the report's age in seconds, and the node's state."""

    report: Report
    age: Figure
    state: str  # "ok", "full", "draining", "late"; for a minute "lost" (fell silent) or "gone" (said goodbye)
    pending: Count


def is_here(state: str) -> bool:
    """Return whether a node in this state is still in the fleet."""
    return state not in ("lost", "gone")


class FleetStatus(_Control, frozen=True, tag="fleet"):
    """The answer to `status`."""

    broker: str
    uptime: Figure
    nodes: list[NodeState]
    assigned: Count  # clients assigned since the broker's start
    refused: Count


class Decisions(_Control, frozen=True, tag="decisions"):
    """The answer to `why`: the remembered decisions about the subject, newest first."""

    found: list[Decision]


class Ordered(_Control, frozen=True, tag="ordered"):
    """The orders that the broker sent to nodes, or would send; empty if there is nothing to do."""

    orders: list[Order]


Reply = Described | Assigned | Refused | Enrolled | FleetStatus | Decisions | Ordered
"""The replies of a broker."""


class Ticket(Struct, frozen=True):
    """Permission for one client to enter one node, once."""

    node: str
    name: str
    expires: Figure  # seconds since the Unix epoch
    id: Annotated[str, Meta(max_length=32)]  # three reports of the node list the id of a redeemed ticket
