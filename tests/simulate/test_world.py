"""The simulated fleet: no client is lost, all randomness comes from the seed, and the balancer meets its aims."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.simulate.comparison import POLICIES, run
from parlour.simulate.outcome import Outcome
from parlour.simulate.policy import RoundRobin
from parlour.simulate.scenario import SCENARIOS, STAY, Outage, Scenario
from parlour.simulate.world import World
from parlour.wire.control import Order, Transfer

NODES = 10
CLIENTS = 10_000
SEED = 7

outages = st.builds(
    Outage,
    at=st.floats(0, 8),
    first=st.floats(0, 0.5),
    last=st.floats(0.5, 1),
    away=st.floats(0, 6),
    drained=st.booleans(),
)
scenarios = st.builds(
    Scenario,
    name=st.just("drawn"),
    text=st.just("whatever may happen"),
    duration=st.just(8.0),
    present=st.floats(0, 1),
    coming=st.just((2.0, 4.0)),
    capacities=st.sampled_from([(1,), (1, 5), (1, 2, 4, 8)]),
    outages=st.lists(outages, max_size=3).map(tuple),
    delay=st.sampled_from([(0.0, 0.0), (1.0, 1.0), (0.0, 4.0)]),
    loss=st.sampled_from([0.0, 0.2, 1.0]),
)


def played(scenario: str, policy: str) -> Outcome:
    """Return the outcome at a small size."""
    return run(SCENARIOS[scenario], policy, NODES, CLIENTS, SEED)


@settings(max_examples=30)
@given(scenarios, st.sampled_from(list(POLICIES)), st.integers(2, 6), st.integers(10, 300))
def test_nobody_is_lost(scenario: Scenario, policy: str, nodes: int, clients: int) -> None:
    """In every scenario each client that came is at a node, has departed, or is on its way or waiting."""
    outcome = run(scenario, policy, nodes, clients, SEED)
    assert outcome.came == outcome.departed + outcome.here + outcome.away
    assert min(outcome.here, outcome.away) >= 0
    assert len(outcome.samples) == 80
    assert all(sample.imbalance >= 1 - 1e-9 or outcome.here == 0 for sample in outcome.samples)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_death_during_a_drain(policy: str) -> None:
    """A client on its way from a dead node is not counted twice there."""
    drain, death = Outage(1.0, 0.0, 0.5, 6.0, drained=True), Outage(1.15, 0.0, 1.0, 6.0)
    outcome = run(Scenario("drawn", "a drain that is cut short", 8.0, outages=(drain, death)), policy, 2, 300, SEED)
    assert outcome.came == outcome.departed + outcome.here + outcome.away
    assert min(outcome.here, outcome.away) >= 0


@pytest.mark.parametrize("policy", POLICIES)
def test_failed_nodes_are_tried_again(policy: str) -> None:
    """All nodes die and return a little later: their failure does not exclude them for ever."""
    death = Outage(1.0, 0.0, 1.0, 2.0)
    outcome = run(Scenario("drawn", "all nodes die and come back", 8.0, outages=(death,)), policy, 2, 300, SEED)
    assert outcome.refused >= 250
    assert (outcome.here, outcome.away) == (outcome.came - outcome.departed, 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_drain_without_other_nodes(policy: str) -> None:
    """Without another node nobody moves; the nodes stop at their deadline, and all clients come back."""
    drain = Outage(1.0, 0.0, 1.0, 2.0, drained=True)
    scenario = Scenario("drawn", "all nodes drain at once", 38.0, outages=(drain,), delay=(0.0, 0.0))
    outcome = run(scenario, policy, 2, 300, SEED)
    assert {sample.moves for sample in outcome.samples if sample.at < 31.0} == {0}
    assert outcome.assigned >= 250
    assert outcome.here == outcome.came - outcome.departed - outcome.away >= 250


class Insistent(RoundRobin):
    """A policy that orders the same move in every tick."""

    def orders(self, now: float) -> list[Order]:
        """Return the same order again."""
        return [Order("n0", "n0-0", moves=[Transfer("n1", 120)])]


def test_a_node_moves_at_its_own_pace() -> None:
    """It moves fifty clients a tick, and twenty in the third; only in the next tick it takes a new order."""
    outcome = World(Scenario("drawn", "orders all the time", 0.5), "insistent", Insistent(), 2, 1000, SEED).run()
    assert [sample.moves for sample in outcome.samples] == [50, 100, 120, 170, 220]


@pytest.mark.parametrize("policy", POLICIES)
def test_all_clients_return_after_a_failure(policy: str) -> None:
    """Long after a quarter of the nodes died, only clients that have just come are without a node."""
    outcome = played("failures", policy)
    assert outcome.away < 0.2 * 2 * CLIENTS / STAY + 10
    assert outcome.here == pytest.approx(CLIENTS, rel=0.02)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_seed_decides_all(policy: str) -> None:
    """Equal arguments give equal outcomes to the last sample; another seed gives another outcome."""
    first, again, other = (run(SCENARIOS["upgrade"], policy, 5, 500, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.samples != other.samples


FIGURES = """
mixed       parlour      1042    0 1.054 1.014 0.200
mixed       parlour-auto 1042    0 1.054 1.014 0.200
mixed       round-robin  1042    0 1.055 1.020 0.200
mixed       least-loaded 1042    0 4.577 3.292 0.200
mixed       two-choices  1042    0 1.700 1.442 0.200
bad-reports parlour      1148    0 1.022 1.008 0.200
bad-reports parlour-auto 1148    0 1.022 1.008 0.200
bad-reports round-robin  1148    0 1.041 1.025 0.200
bad-reports least-loaded 1148    0 5.442 4.490 0.200
bad-reports two-choices  1148    0 1.360 1.249 0.200
failures    parlour       691    0 1.256 1.120 0.815
failures    parlour-auto  691  395 1.255 1.010 0.815
failures    round-robin   684    0 1.279 1.139 0.775
failures    least-loaded  794    0 2.889 2.348 0.717
failures    two-choices   643    0 1.396 1.225 0.833
upgrade     parlour       305 2246 1.181 1.126 0.556
upgrade     parlour-auto  306 3566 1.191 1.079 0.512
upgrade     round-robin   303 2834 1.777 1.468 0.595
upgrade     least-loaded  297 2073 2.027 1.854 0.200
upgrade     two-choices   297 2726 1.666 1.390 0.199
"""
"""With 2,000 clients and 10 nodes: the assigned and moved clients, the worst and mean imbalance, the longest wait."""


def test_figures_stay_the_same() -> None:
    """Any change of the simulation or the balancer shows here; then the new figures are recorded."""
    found = [
        run(SCENARIOS[scenario], policy, NODES, 2000, SEED)
        for scenario in ("mixed", "bad-reports", "failures", "upgrade")
        for policy in POLICIES
    ]
    assert [
        f"{each.scenario:11} {each.policy:12} {each.assigned:4} {each.moves:4} "
        f"{each.worst:.3f} {each.mean:.3f} {each.waited:.3f}"
        for each in found
    ] == FIGURES.strip().splitlines()


def test_the_same_clients_come_to_all() -> None:
    """All policies are compared under the same arrivals."""
    assert len({played("flash", policy).came for policy in POLICIES}) == 1


def test_the_rate_brings_the_clients() -> None:
    """The new clients come within their time; otherwise as many come as leave."""
    flash = SCENARIOS["flash"]
    assert flash.rate(9.9, 1200) == pytest.approx(600 / STAY)
    assert flash.rate(10.5, 1200) == pytest.approx(600 + 900 / STAY)
    assert flash.rate(11.0, 1200) == pytest.approx(1200 / STAY)
    assert played("flash", "round-robin").came == pytest.approx(CLIENTS * (1 + 25 / STAY), rel=0.02)


def test_parlour_is_even_in_steady_state() -> None:
    """The aim: with reports a second late, no node is more than 5 % above the mean."""
    assert played("steady", "parlour").worst < 1.05


@pytest.mark.parametrize("scenario", ["flash", "mixed"])
def test_parlour_is_even_in_a_flash_crowd(scenario: str) -> None:
    """The aim: half of all clients come within a second, reports are a second late, and no node is 25 % too full."""
    outcome = played(scenario, "parlour")
    assert outcome.worst < 1.25
    assert (outcome.overload, outcome.refused) == (0, 0)


@pytest.mark.parametrize("policy", ["least-loaded", "two-choices"])
def test_policies_that_trust_old_reports(policy: str) -> None:
    """A policy that knows only the last reports sends a flash crowd to few nodes."""
    assert played("flash", policy).worst > 1.25 > played("flash", "parlour").worst


@pytest.mark.parametrize("policy", ["least-loaded", "two-choices", "round-robin"])
def test_policies_in_an_upgrade(policy: str) -> None:
    """In a rolling upgrade, where loads differ, turns alone or old reports alone are worse than both together."""
    assert played("upgrade", policy).mean > played("upgrade", "parlour").mean


def test_moves_fill_returned_nodes() -> None:
    """With `--auto` the returned nodes have their share in the end; without it they lack much of it."""
    plain, auto = played("failures", "parlour"), played("failures", "parlour-auto")
    assert auto.samples[-1].imbalance < 1.05 < plain.samples[-1].imbalance
    assert (plain.moves, auto.moves > 0) == (0, True)
    lacking = int(NODES * 0.25) * CLIENTS // NODES
    assert auto.moves < 2 * lacking


def test_a_drained_node_moves_its_clients() -> None:
    """In a rolling upgrade each client moves at least once, and none looks for a node for long."""
    outcome = played("upgrade", "parlour")
    assert outcome.moves > CLIENTS * 0.9
    assert outcome.waited < 1.0
