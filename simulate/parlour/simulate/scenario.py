"""Scenarios: when clients come, which nodes go, and how late reports are.

This module owns the scenarios by name. It is pure. A scenario must never depend on a policy: the events are the same
for all policies.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SCENARIOS", "STAY", "Outage", "Scenario"]

STAY = 600.0
"""Seconds that a client stays on average. As many clients come as leave, plus the scenario's new clients."""


@dataclass(frozen=True)
class Outage:
    """Some nodes go at the same time, and come back empty."""

    at: float
    """Seconds since the start."""
    first: float
    """The first of these nodes, as a part of the fleet from 0 to 1."""
    last: float
    """The end of these nodes, as a part of the fleet."""
    away: float
    """Seconds from the end of a node until it is back."""
    drained: bool = False
    """Whether the nodes drain before they go; else they are killed."""


@dataclass(frozen=True)
class Scenario:
    """The events of a simulation, for a fleet of any size."""

    name: str
    text: str
    duration: float = 60.0
    """Seconds."""
    present: float = 1.0
    """The part of the clients that is there at the start, spread evenly over the nodes; the others come later."""
    coming: tuple[float, float] = (0.0, 1.0)
    """From when to when the others come, evenly, in seconds."""
    capacities: tuple[int, ...] = (1,)
    """Capacities of the nodes in turn, relative to each other."""
    outages: tuple[Outage, ...] = ()
    delay: tuple[float, float] = (1.0, 1.0)
    """Least and most seconds from the making of a report to its arrival."""
    loss: float = 0.0
    """The part of the reports that never arrives, from 0 to 1."""

    def rate(self, now: float, clients: int) -> float:
        """Return how many clients come per second at this moment, in a fleet of `clients` clients."""
        begin, end = self.coming
        newcomers = clients * (1 - self.present)
        there = clients * self.present + newcomers * min(1.0, max(0.0, now - begin) / (end - begin))
        return there / STAY + (newcomers / (end - begin) if begin <= now < end else 0.0)


_FLASH = (10.0, 11.0)

_ALL = (
    Scenario("steady", "as many clients come as leave"),
    Scenario("flash", "half of the clients come within one second", duration=30, present=0.5, coming=_FLASH),
    Scenario("morning", "nine tenths of the clients come within a minute", present=0.1, coming=(0, 60), duration=75),
    Scenario(
        "mixed",
        "a flash crowd over nodes of capacities 1, 2, 4 and 8",
        duration=30,
        present=0.5,
        coming=_FLASH,
        capacities=(1, 2, 4, 8),
    ),
    Scenario(
        "bad-reports",
        "a flash crowd while reports are 1 to 3 s late and one in twenty is lost",
        duration=60,
        present=0.5,
        coming=_FLASH,
        delay=(1.0, 3.0),
        loss=0.05,
    ),
    Scenario(
        "failures",
        "a quarter of the nodes dies at once, and is back, empty, after 20 s",
        duration=60,
        outages=(Outage(10, 0.0, 0.25, 20),),
    ),
    Scenario(
        "upgrade",
        "one tenth of the nodes after the other drains, stops and starts again",
        duration=90,
        outages=tuple(Outage(5.0 + 8 * wave, wave / 10, (wave + 1) / 10, 1, drained=True) for wave in range(10)),
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""Every scenario, by its name."""
