"""The outcome of a simulation: a sample for each tick, and figures made from all samples.

This module owns the figures and their meaning. It is pure. It must never leave out a sample: the worst moment counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Outcome", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet at one moment."""

    at: float
    """Seconds since the start."""
    imbalance: float
    """The highest load ÷ the mean load, by weight, of the live nodes that do not drain."""
    overload: int
    """Clients above capacity at the node that has most of them."""
    refused: int
    """Requests so far that got no node."""
    moves: int
    """Clients so far that moved from a live node to another."""


@dataclass
class Outcome:
    """One scenario under one policy. A client comes, is here or away (on its way, or waiting), and departs."""

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
    """The most clients that came to one node within a second, relative to the number that it admits."""
    waited: float = 0.0
    """Seconds: the longest time that a client looked for a node."""

    @property
    def mean(self) -> float:
        """The mean imbalance."""
        return sum(sample.imbalance for sample in self.samples) / len(self.samples)

    @property
    def p99(self) -> float:
        """The imbalance that one sample in a hundred exceeds."""
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
        """Requests that got no node."""
        return self.samples[-1].refused

    @property
    def moves(self) -> int:
        """Clients that moved from a live node to another."""
        return self.samples[-1].moves
