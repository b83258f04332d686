"""The surplus of each node: who serves more than its share, and how many clients should go from whom to whom.

This module owns the arithmetic of a rebalance, in whole numbers, so that a plan carried out leaves nothing to plan.
It is pure and may run on any thread. It must never move one client more than evenness needs, nor any in a fleet that
is even within the dead band.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["NodeLoad", "PlannedMove", "plan_moves"]

_LEAST = 2
"""Clients by which a node may be off its share, whatever its share is, and nothing moves."""

_BAND = 20
"""One in so many of its share is what a node may be off it, and nothing moves: 5 %."""


@dataclass(frozen=True)
class NodeLoad:
    """What a node serves: its clients, its weight (at least 1), and how many more it can take (at least 0)."""

    node: str
    clients: int
    weight: int
    room: int

    @property
    def most(self) -> int:
        """Clients that it can serve at most; what it serves already is never too much."""
        return self.clients + self.room


@dataclass(frozen=True)
class PlannedMove:
    """So many clients, at least one, from a node to another."""

    source: str
    target: str
    clients: int


@dataclass(frozen=True)
class _Share:
    """What a node should serve: `whole` clients and `part` ÷ `parts` of one, a fraction below 1."""

    load: NodeLoad
    whole: int
    part: int
    parts: int

    @property
    def missed(self) -> bool:
        """Whether the node is off its share by more than the dead band.

        Below it counts as above it: beside many nodes, each hardly above its share, one may stand empty.
        """
        share = self.whole * self.parts + self.part
        off = abs(self.load.clients * self.parts - share)
        return off > _LEAST * self.parts and off * _BAND > share


def plan_moves(loads: Iterable[NodeLoad]) -> list[PlannedMove]:
    """Return the moves after which every node serves its share, rounded up or down; none within the dead band.

    A share goes by weight: all nodes are filled to the same level, clients ÷ weight, but for those that have no
    room for so many. A node without room so loses its surplus, if it has one, and gets none. The total moved is the
    least that leads there.
    """
    shares = _shares(loads)
    return _moves(shares) if any(share.missed for share in shares) else []


def _shares(loads: Iterable[NodeLoad]) -> list[_Share]:
    """Return who should serve how many: as water fills vessels of unequal height to one level."""
    shares: list[_Share] = []
    rising = sorted(loads, key=lambda load: (load.most / load.weight, load.node))
    clients = sum(load.clients for load in rising)
    weight = sum(load.weight for load in rising)
    for count, load in enumerate(rising):
        if load.most * weight > clients * load.weight:
            rest = ((load, *divmod(clients * load.weight, weight)) for load in rising[count:])
            return shares + [_Share(load, whole, part, weight) for load, whole, part in rest]
        # Full before the others have reached the level: these share what is left.
        shares.append(_Share(load, load.most, 0, 1))
        clients -= load.most
        weight -= load.weight
    return shares


def _moves(shares: list[_Share]) -> list[PlannedMove]:
    """Return who gives to whom: the largest surplus to the largest lack, so that few pairs are needed."""
    wanted = {share.load.node: share.whole for share in shares}
    odd = sum(share.load.clients - share.whole for share in shares)
    # The odd clients stay with those who have them already, then go where the fraction is largest.
    keen = [share for share in shares if share.part]
    keen.sort(key=lambda share: (share.load.clients > share.whole, share.part), reverse=True)
    for share in keen[:odd]:
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
