"""The record of one assignment: the chosen node, and the figures that decided.

This module owns what is kept of an assignment. The reason and the list of candidates are made only when somebody asks
for them. It is pure and may run on any thread. It must never hold anything that changes after the assignment.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from parlour.broker.nodes import NodeSnapshot
from parlour.broker.reasons import reason_chosen, reason_excluded
from parlour.wire.control import Candidate, Decision

__all__ = ["Assignment"]


class Assignment(Struct, frozen=True, gc=False):
    """Which node was chosen for which client, from what. `node` is None if no node could take the client.

    People ask about few assignments: making each decision's words at once took 17 instead of 5 µs among ten nodes.
    """

    at: int  # milliseconds since the Unix epoch
    now: float  # the same moment by the balancer's clock
    name: str
    room: str | None
    node: str | None
    code: str
    words: str  # the reason, or "" for the usual one: the first of `best` was the best
    best: list[NodeSnapshot]  # the first of the nodes that could take the client
    rest: list[NodeSnapshot]  # other nodes worth a line
    failed: Collection[str]  # live nodes that the client could not reach
    nodes: int  # all live nodes

    @property
    def reason(self) -> str:
        """The reason in one line."""
        return self.words or reason_chosen(self.best, self.failed)

    def decision(self) -> Decision:
        """Return the assignment as the message that the broker publishes and answers `why` with."""
        candidates = [
            Candidate(
                node=snapshot.node,
                load=snapshot.load,
                clients=snapshot.clients,
                pending=snapshot.pending,
                capacity=snapshot.capacity,
                age=max(0.0, self.now - snapshot.heard),
                note=reason_excluded(snapshot, self.failed),
            )
            for snapshot in (*self.best, *self.rest)
        ]
        return Decision(
            at=self.at,
            name=self.name,
            room=self.room,
            node=self.node,
            reason=self.reason,
            candidates=candidates,
            others=self.nodes - len(candidates),
            code=self.code,
        )
