"""One choice of a node for a client, as it was made, and the decision that is told of it.

This module owns what is kept of a choice: the figures that spoke for it, of which words and lists are made only when
somebody asks. It is pure and may run on any thread. It must never hold what changes after the choice.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from parlour.broker.nodes import NodeSnapshot
from parlour.broker.reasons import reason_chosen, reason_excluded
from parlour.wire.control import Candidate, Decision

__all__ = ["Assignment"]


class Assignment(Struct, frozen=True, gc=False):
    """What was chosen for whom, and what was seen then. `node` is None if nobody could take the client.

    Few choices are ever asked about: when each was told at once, one among ten nodes took 17 instead of 5 µs.
    """

    at: int  # milliseconds since the Unix epoch
    now: float  # the same by the balancer's clock
    name: str
    room: str | None
    node: str | None
    code: str
    words: str  # the reason, or nothing where it is that the first of the best was the best
    best: list[NodeSnapshot]  # the first of those that could take the client
    rest: list[NodeSnapshot]  # those of the others that are worth a word
    failed: Collection[str]  # live nodes that the client could not reach
    nodes: int  # all live nodes

    @property
    def reason(self) -> str:
        """Why it was so, in a line."""
        return self.words or reason_chosen(self.best, self.failed)

    def decision(self) -> Decision:
        """Return it as it is told to others."""
        candidates = [
            Candidate(
                node=seen.node,
                load=seen.load,
                clients=seen.clients,
                pending=seen.pending,
                capacity=seen.capacity,
                age=max(0.0, self.now - seen.heard),
                note=reason_excluded(seen, self.failed),
            )
            for seen in (*self.best, *self.rest)
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
