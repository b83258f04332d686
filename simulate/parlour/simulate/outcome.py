"""What a simulation has found: a sample per tick, and what becomes of them in a line.

This module owns the figures and what they mean. It is pure. It must never leave out a sample: the worst moment counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Outcome", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet at one moment."""

    at: float
    """Seconds after the beginning."""
    imbalance: float
    """The highest load ÷ the mean load, by weight, of the nodes that are there and do not drain."""
    overload: int
    """Clients of the node that has most beyond its capacity."""
    refused: int
    """Requests so far that were answered with no node."""
    moves: int
    """Clients so far that have gone from a live node to another."""


@dataclass
class Outcome:
    """One scenario under one policy; clients come, are here or away (on their way, or waiting), and depart."""

    scenario: str
    policy: str
    nodes: int
    clients: int
    seed: int
    samples: list[Sample] = field(default_factory=list)
    came: int = 0
    departed: int = 0
    here: int = 0
    away: int = 0
    assigned: int = 0
    rush: float = 0.0
    """The most clients that came to one node within a second, relative to what it admits."""
    waited: float = 0.0
    """Seconds, the longest that a client looked for a node."""

    @property
    def mean(self) -> float:
        """The mean imbalance."""
        return sum(sample.imbalance for sample in self.samples) / len(self.samples)

    @property
    def p99(self) -> float:
        """The imbalance that is exceeded in one sample of a hundred."""
        return sorted(sample.imbalance for sample in self.samples)[(len(self.samples) - 1) * 99 // 100]

    @property
    def worst(self) -> float:
        """The highest imbalance."""
        return max(sample.imbalance for sample in self.samples)

    @property
    def overload(self) -> int:
        """The worst overload, in clients."""
        return max(sample.overload for sample in self.samples)

    @property
    def refused(self) -> int:
        """Requests that were answered with no node."""
        return self.samples[-1].refused

    @property
    def moves(self) -> int:
        """Clients that went from a live node to another."""
        return self.samples[-1].moves
