"""A comparison of policies: the same scenario under each.

This module owns the list of policies by name. It runs on the calling thread. Runs must never share anything: each has
its own policy and world.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from parlour.simulate.outcome import Outcome
from parlour.simulate.parlour_policy import ParlourPolicy
from parlour.simulate.policy import LeastLoaded, Policy, RoundRobin, TwoChoices
from parlour.simulate.scenario import Scenario
from parlour.simulate.world import World

__all__ = ["POLICIES", "run"]

POLICIES: dict[str, Callable[[random.Random], Policy]] = {
    "parlour": lambda chance: ParlourPolicy(auto=False),
    "parlour-auto": lambda chance: ParlourPolicy(auto=True),
    "round-robin": lambda chance: RoundRobin(),
    "least-loaded": LeastLoaded,
    "two-choices": TwoChoices,
}
"""For each name, a function that makes the policy from the random generator that it may use."""


def run(scenario: Scenario, policy: str, nodes: int, clients: int, seed: int) -> Outcome:
    """Return the outcome of one scenario under this policy; equal arguments give equal outcomes."""
    return World(scenario, policy, POLICIES[policy](random.Random(f"{seed} {policy}")), nodes, clients, seed).run()
