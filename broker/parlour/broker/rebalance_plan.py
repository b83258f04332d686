"""The plan of a rebalance: which nodes serve more than their share, and how many clients go from which to which node.

This module owns the arithmetic, in whole numbers, so that a fleet that carried out its plan needs no other. It is pure
and may run on any thread. It must never move more clients than evenness needs, nor any in a fleet that is even within
the dead band.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["NodeLoad", "PlannedMove", "plan_moves"]

_LEAST = 2
"""Clients by which a node may miss its share, however small the share, before clients move."""

_BAND = 20
"""A node may also miss its share by one part in 20 of it (5 %) before clients move."""


@dataclass(frozen=True)
class NodeLoad:
    """A node's clients, its weight (at least 1), and how many more clients it can take (at least 0)."""

    node: str
    clients: int
    weight: int
    room: int

    @property
    def most(self) -> int:
        """Clients that it can serve at most; the clients that it has are never too many."""
        return self.clients + self.room


@dataclass(frozen=True)
class PlannedMove:
    """A number of clients, at least one, that go from one node to another."""

    source: str
    target: str
    clients: int


@dataclass(frozen=True)
class _Share:
    """A node's share: `whole` clients plus the fraction `part` ÷ `parts` of one, which is below 1."""

    load: NodeLoad
    whole: int
    part: int
    parts: int

    @property
    def missed(self) -> bool:
        """Whether the node misses its share by more than the dead band.

        Too few clients count like too many: one node may be empty while many others are each hardly above their share.
        """
        share = self.whole * self.parts + self.part
        off = abs(self.load.clients * self.parts - share)
        return off > _LEAST * self.parts and off * _BAND > share


def plan_moves(loads: Iterable[NodeLoad]) -> list[PlannedMove]:
    """Return the moves after which every node serves its share, rounded up or down; none within the dead band.

    Shares follow weight: all nodes are filled to the same level (clients ÷ weight), except those that have no room for
    so many. So a node without room gives away its surplus, if it has any, and gets no clients. The plan moves the
    smallest total that reaches these shares.
    """
    shares = _shares(loads)
    return _moves(shares) if any(share.missed for share in shares) else []


def _shares(loads: Iterable[NodeLoad]) -> list[_Share]:
    """Return the share of each node, as water fills vessels of unequal height to one level."""
    shares: list[_Share] = []
    rising = sorted(loads, key=lambda load: (load.most / load.weight, load.node))
    clients = sum(load.clients for load in rising)
    weight = sum(load.weight for load in rising)
    for count, load in enumerate(rising):
        if load.most * weight > clients * load.weight:
            rest = ((load, *divmod(clients * load.weight, weight)) for load in rising[count:])
            return shares + [_Share(load, whole, part, weight) for load, whole, part in rest]
        # This node is full before the others reach the level; they share the rest.
        shares.append(_Share(load, load.most, 0, 1))
        clients -= load.most
        weight -= load.weight
    return shares


def _moves(shares: list[_Share]) -> list[PlannedMove]:
    """Return the moves: the largest surplus goes to the largest lack, so that few pairs are needed."""
    wanted = {share.load.node: share.whole for share in shares}
    left_over = sum(share.load.clients - share.whole for share in shares)
    # The clients left over stay at nodes that have them already, then go to the nodes with the largest fraction.
    fractions = [share for share in shares if share.part]
    fractions.sort(key=lambda share: (share.load.clients > share.whole, share.part), reverse=True)
    for share in fractions[:left_over]:
        wanted[share.load.node] += 1
    changes = [(share.load.clients - wanted[share.load.node], share.load.node) for share in shares]
    givers = sorted((surplus, node) for surplus, node in changes if surplus > 0)
    takers = sorted((-surplus, node) for surplus, node in changes if surplus < 0)
    moves: list[PlannedMove] = []
    while givers and takers:
        (surplus, source), (lack, target) = givers.pop(), takers.pop()
        clients = min(surplus, lack)
        moves.append(PlannedMove(source, target, clients))
        if surplus > clients:
            givers.append((surplus - clients, source))
        if lack > clients:
            takers.append((lack - clients, target))
    return moves
