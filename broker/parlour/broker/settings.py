"""The settings of a broker, each with its unit.

This module owns the defaults, which the command line reads from here. Instances are immutable and cross threads
freely. It must never read the environment or a file.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BrokerSettings"]


@dataclass(frozen=True)
class BrokerSettings:
    """The settings of a broker; the defaults suit fleets from one node to thousands."""

    # HOST:PORT of the ROUTER. The next port takes reports, and the port after that serves the feed. With port 0 the
    # system chooses three free ports, which `described` tells.
    bind: str = "127.0.0.1:6000"

    # Reports, counted by the node's own interval, that a node may miss before it counts as lost.
    missed_reports: int = 3

    # Seconds: bounds on the interval that a report states.
    shortest_interval: float = 0.01
    longest_interval: float = 60.0

    # Seconds that a ticket is valid, and that its client counts as on its way.
    ticket_life: float = 30.0

    # Seconds after which a client that was given no node should ask again.
    retry_after: float = 1.0

    # Seconds in which a node that has just joined grows to its full share.
    slow_start: float = 10.0

    # Seconds for which the status still lists a node that has left.
    lost_for: float = 60.0

    # Seconds after the loss of a node for which its clients are expected back.
    storm_life: float = 30.0

    # Clients that could not reach a node since its last report, after which all its clients count as cut off.
    cut_off: int = 10

    # Clients that a node is given in any one second of a storm, at most, relative to the number that it admits.
    admits_margin: float = 1.2

    # Clients, at most, whose turns in a storm are remembered; and seconds for which a turn is kept after its time.
    waiting: int = 100_000
    turn_life: float = 10.0

    # Whether the broker rebalances by itself, and the least seconds between two such orders.
    auto_rebalance: bool = False
    rebalance_every: float = 10.0

    # Seconds after the deadline of a drain that its node never began, until the node is given clients again.
    drain_lapse: float = 5.0

    # Seconds: the longest deadline of a drain.
    longest_drain: float = 86_400.0

    # Nodes, at most, that a decision lists: of those that could take the client, and again of those that could not.
    candidates: int = 8

    # Names, and again rooms, at most, whose decisions are remembered; and decisions for each.
    remembered: int = 4096
    remembered_each: int = 4

    # Seconds between two node lists on the feed if nothing changes.
    node_list_every: float = 2.0

    # Seconds by which one turn of the loop may be late. A longer delay counts as a pause of the whole process (a
    # stopped or swapped-out machine), for which no node is blamed.
    pause: float = 1.0

    # Seconds after its start until a broker's node list is settled: three report intervals at the nodes' default. If a
    # report states a longer interval, this takes longer.
    settle: float = 3.0

    # Seconds between two publications of the refusal of the same node.
    refusal_every: float = 1.0

    # Messages that may wait for one slow subscriber, or from all nodes together, before some are dropped.
    high_water: int = 10_000

    # Connections that the system queues while the broker is busy: a whole fleet's clients may come at once.
    backlog: int = 4096

    # Bytes of the longest message accepted; a report with 10,000 redeemed tickets has 200 KB.
    longest_message: int = 1024 * 1024
