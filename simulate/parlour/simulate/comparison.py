"""The same scenarios under several policies.

This module owns the policies that there are, by name. It runs on the thread that calls it. It must never let one run
know of another: each has a policy and a world of its own.
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
"""Makes each policy, given the generator that it may draw from."""


def run(scenario: Scenario, policy: str, nodes: int, clients: int, seed: int) -> Outcome:
    """Return the outcome of one scenario under the policy of this name: the same for the same arguments."""
    return World(scenario, policy, POLICIES[policy](random.Random(f"{seed} {policy}")), nodes, clients, seed).run()
