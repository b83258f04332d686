"""What can be set about a broker, each with its unit and the reason for its default.

This module owns the defaults, which the command line reads from here. Instances are immutable and cross threads
freely. It must never read the environment or a file.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BrokerSettings"]


@dataclass(frozen=True)
class BrokerSettings:
    """The settings of a broker; the defaults suit fleets from one node to thousands."""

    # HOST:PORT of the ROUTER; reports are taken on the next port and the feed is on the one after. With port 0 all
    # three are free ports of the system's choice, which `described` tells.
    bind: str = "127.0.0.1:6000"

    # Reports that a node may miss, counted in its own interval, before it leaves the fleet.
    missed_reports: int = 3

    # Seconds, shortest and longest interval that is believed of a report.
    shortest_interval: float = 0.01
    longest_interval: float = 60.0

    # Seconds that a ticket is good for, and that its client counts as on its way.
    ticket_life: float = 30.0

    # Seconds after which a client that found no node is told to ask again.
    retry_after: float = 1.0

    # Seconds over which a node that has just joined comes to its full share.
    slow_start: float = 10.0

    # Seconds that a node which has left stays listed in the status.
    lost_for: float = 60.0

    # Seconds after the loss of a node in which its clients may come back all at once.
    storm_life: float = 30.0

    # Clients that could not reach a node since its last report, after which its clients are held for cut off.
    cut_off: int = 10

    # How much more than it reports to admit a node is given in any one second of a storm, at most.
    admits_margin: float = 1.2

    # Clients, at most, whose turns in a storm are remembered; and for how many seconds after their time.
    waiting: int = 100_000
    turn_life: float = 10.0

    # Whether clients are moved to even out the fleet without being told to, and seconds between two such orders.
    auto_rebalance: bool = False
    rebalance_every: float = 10.0

    # Seconds after the deadline of a drain that its node has not begun, until the node is given clients again.
    drain_lapse: float = 5.0

    # Seconds, the longest deadline of a drain.
    longest_drain: float = 86_400.0

    # Nodes, at most, that a decision lists of those that could, and of those that could not take the client.
    candidates: int = 8

    # Names, and again rooms, at most, of which decisions are remembered; and decisions for each.
    remembered: int = 4096
    remembered_each: int = 4

    # Seconds between rosters when nothing changes.
    roster_every: float = 2.0

    # Seconds that one turn of the loop may take beyond what it meant to; what comes on top is held for a pause of the
    # whole process, such as that of a stopped or swapped-out machine, for which no node is blamed.
    pause: float = 1.0

    # Seconds for which a young broker's roster is not settled: three report intervals of nodes left at their
    # default. A longer interval seen in a report makes it longer.
    settle: float = 3.0

    # Seconds between two publications of a refusal of one and the same node.
    refusal_every: float = 1.0

    # Messages that wait for one subscriber that reads too slowly, or from all nodes together, before some are lost.
    high_water: int = 10_000

    # Connections that the system holds ready while the broker is busy: a whole fleet's clients may come at once.
    backlog: int = 4096

    # Bytes of the longest message taken; a report that lists 10,000 redeemed tickets has 200 KB.
    longest_message: int = 1024 * 1024
