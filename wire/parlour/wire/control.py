"""What goes over ZeroMQ between broker, nodes, clients and monitors: requests, replies, reports, the feed.

This module owns the fields of the control messages and of the ticket; each is one MessagePack map in one ZeroMQ
frame. Instances are immutable and cross threads freely. It must never learn which socket carries what.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from parlour.wire.limits import MAX_NAME, PROTOCOL, Count, Figure, Moment, Seconds, check_name, check_room

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


# --- what nodes report, and the feed hands on ---------------------------------------------------------------


class Report(_Control, frozen=True, tag="report", omit_defaults=False):
    """A node's load, published every `interval` seconds and at once on a step change; rates are per second."""

    # Nothing is omitted here: a version left out would be read as the reader's own.

    node: str
    instance: str  # a random word, new at each start of the node
    address: str  # HOST:PORT where clients connect
    relay: str  # HOST:PORT of the node's XPUB, for the other nodes
    log: str  # the room log's identity: nodes of one cluster share it
    capacity: Count  # clients, at most
    clients: Count = 0
    rooms: Count = 0
    redeemed: list[str] = []  # ids of tickets that came lately, each in three reports: one may be lost
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
    stopping: bool = False  # the node's last word
    interval: Figure = 1.0
    protocol: str = PROTOCOL
    version: str = ""
    admits: Figure = 500.0  # new clients per second that the node can take
    orders: list[str] = []  # ids of the last orders to move clients that came
    troubles: list[str] = []  # what its operator has to mend, a line each
    encodings: Count = 0  # how often a batch was encoded since the node's start: once for each variant of its members

    def __post_init__(self) -> None:
        force_setattr(self, "node", check_name(self.node))


class Peer(Struct, frozen=True):
    """What nodes need to know of each other."""

    node: str
    instance: str
    relay: str


class NodeList(_Control, frozen=True, tag="roster"):
    """The nodes that a broker holds to be alive.

    `settled` is false while the broker is too young to have heard everybody: absence means nothing then.
    """

    broker: str
    nodes: list[Peer]
    settled: bool
    at: Moment = 0  # the broker's time, in ms since the Unix epoch; 0: it does not tell


class Refusal(_Control, frozen=True, tag="refusal"):
    """A node whose reports the broker will not take, and why."""

    node: str
    instance: str
    text: str
    code: str = ""  # the word that `refused` would carry: "name_taken", "other_log", "bad_version"


class Candidate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A node as the balancer saw it when it decided: load is (clients + pending + credit) ÷ weight."""

    node: str
    load: Figure
    clients: Count
    pending: Count  # assigned since, not yet seen in a report
    capacity: Count
    age: Figure  # seconds since its last report
    note: str = ""  # why it could not be taken, if so


class Decision(_Control, frozen=True, tag="decision"):
    """One assignment, with what spoke for it. `node` is None if nobody could take the client."""

    at: Moment  # milliseconds since the Unix epoch
    name: str
    room: str | None
    node: str | None
    reason: str
    candidates: list[Candidate]
    others: Count = 0  # further nodes, of higher load, that are not listed
    code: str = ""  # with no node, the word that `refused` carries: "no_node", "full" or "storm"


class Transfer(Struct, frozen=True):
    """So many clients of a node, to another."""

    to: str
    clients: Count


class Order(_Control, frozen=True, tag="order"):
    """What a broker wants a node to do, published on the topic `order.NODE`.

    With `drain` it moves all its clients to whoever takes them, within `deadline` seconds, and stops; else it moves
    what `moves` says, once for each `id`.
    """

    node: str
    instance: str
    drain: bool = False
    deadline: Seconds = 0.0
    moves: list[Transfer] = []
    id: Annotated[str, Meta(max_length=MAX_NAME)] = ""  # followed, it stands in the node's reports


Feed = Report | NodeList | Refusal | Decision | Order
"""What comes on the feed, and (reports alone) what nodes publish."""


# --- requests to a broker ------------------------------------------------------------------------------------


class Describe(_Control, frozen=True, tag="describe"):
    """Which ports serve what? Answered by `described`."""


class Assign(_Control, frozen=True, tag="assign"):
    """Which node shall this client go to? Answered by `assigned` or `refused`.

    `failed` names nodes that the client could not reach just now; `node` asks for a named one.
    """

    name: str
    room: str | None = None
    node: str | None = None
    failed: list[str] = []
    protocol: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "name", check_name(self.name))
        if self.room is not None:
            force_setattr(self, "room", check_room(self.room))


class Enroll(_Control, frozen=True, tag="enroll"):
    """May this node join the fleet? Its first report rides along. Answered by `enrolled` or `refused`."""

    report: Report


class Status(_Control, frozen=True, tag="status"):
    """How is the fleet? Answered by `fleet`."""


class Why(_Control, frozen=True, tag="why"):
    """Why did the client of this name, or the last client that asked for this room, go where it went?"""

    subject: str


class Drain(_Control, frozen=True, tag="drain"):
    """Have this node move its clients away and stop, within `deadline` seconds. Answered by `ordered`."""

    node: str
    deadline: Figure = 30.0


class Rebalance(_Control, frozen=True, tag="rebalance"):
    """Have nodes that serve more than their share move the surplus to the others; with `plan`, only say what.

    Answered by `ordered`.
    """

    plan: bool = False


Request = Describe | Assign | Enroll | Status | Why | Drain | Rebalance
"""What may be asked of a broker."""


# --- replies of a broker -------------------------------------------------------------------------------------


class Described(_Control, frozen=True, tag="described", omit_defaults=False):
    """The ports, on the host where the request was answered, of the other two sockets."""

    # Nothing is omitted here: a version left out would be read as the reader's own.

    broker: str  # a random word, new at each start of the broker
    reports: _Port  # SUB: nodes connect a PUB here
    feed: _Port  # XPUB: subscribe to `report.`, `roster`, `refusal.`, `decision`, `order.`
    protocol: str = PROTOCOL
    version: str = ""


class Assigned(_Control, frozen=True, tag="assigned"):
    """Go to this node and show it the ticket, which is good for `expires_in` seconds."""

    node: str
    address: str
    ticket: str
    expires_in: Seconds


class Refused(_Control, frozen=True, tag="refused"):
    """Not now, or not so. `retry_after` (seconds) is given where trying again may help."""

    code: str
    text: str
    retry_after: Seconds | None = None


class Enrolled(_Control, frozen=True, tag="enrolled"):
    """The node is in the fleet."""


class NodeState(Struct, frozen=True):
    """A node as the broker sees it: its last report, that report's age in seconds, and a word for its state."""

    report: Report
    age: Figure
    state: str  # "ok", "full", "draining", "late"; for a minute "lost" (fell silent) or "gone" (said goodbye)
    pending: Count


def is_here(state: str) -> bool:
    """Whether a node in this state is in the fleet still."""
    return state not in ("lost", "gone")


class FleetStatus(_Control, frozen=True, tag="fleet"):
    """The answer to `status`."""

    broker: str
    uptime: Figure
    nodes: list[NodeState]
    assigned: Count  # decisions since the broker's start
    refused: Count


class Decisions(_Control, frozen=True, tag="decisions"):
    """The answer to `why`: decisions kept about the subject, newest first; empty if none is remembered."""

    found: list[Decision]


class Ordered(_Control, frozen=True, tag="ordered"):
    """What the nodes were told to do, or would be; empty if there is nothing to do."""

    orders: list[Order]


Reply = Described | Assigned | Refused | Enrolled | FleetStatus | Decisions | Ordered
"""What a broker may answer."""


class Ticket(Struct, frozen=True):
    """Permission for one client to enter one node, once."""

    node: str
    name: str
    expires: Figure  # seconds since the Unix epoch
    id: Annotated[str, Meta(max_length=32)]  # redeemed, it stands in three reports
