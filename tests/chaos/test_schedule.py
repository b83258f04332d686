"""The schedule of faults: the same for the same seed, and never for the whole cluster at once."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from parlour.chaos.schedule import BUSY, LASTS, Fault, Kind, schedule

kinds = st.sets(st.sampled_from(Kind))
seeds = st.integers(0, 2**32)

ON_NODES = {Kind.KILL_NODE, Kind.STOP_NODE, Kind.DROP_RELAY, Kind.DRAIN}


def planned(seed: int, chosen: set[Kind], nodes: int = 3, brokers: int = 2, duration: float = 60.0) -> list[Fault]:
    """Return the faults for a cluster of the usual size."""
    return schedule(seed, chosen, nodes=nodes, brokers=brokers, clients=100, duration=duration)


@given(seeds, kinds)
def test_a_round_can_be_had_again(seed: int, chosen: set[Kind]) -> None:
    """The same arguments give the same faults, however the kinds are ordered."""
    assert planned(seed, chosen) == schedule(
        seed, sorted(chosen, reverse=True), nodes=3, brokers=2, clients=100, duration=60.0
    )


def test_seeds_differ() -> None:
    """Another seed is another round."""
    assert planned(1, set(Kind)) != planned(2, set(Kind))


@given(seeds, kinds, st.floats(0, 100))
def test_faults_come_in_order(seed: int, chosen: set[Kind], duration: float) -> None:
    """Faults are of the given kinds, in order, with talk before the first and after the last."""
    faults = planned(seed, chosen, duration=duration)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert all(fault.kind in chosen for fault in faults)
    begun = [fault for fault in faults if fault.at or fault.kind is not Kind.CUT_RELAY]
    assert all(1.0 <= fault.at <= duration - 1.0 for fault in begun)


@given(seeds)
def test_every_kind_has_its_turn(seed: int) -> None:
    """In a minute no kind is left out, and none comes up much more rarely than another."""
    counts = [sum(fault.kind is kind for fault in planned(seed, set(Kind))) for kind in Kind]
    assert min(counts) >= 1


@given(seeds, kinds, st.integers(1, 5))
def test_one_link_is_cut_from_the_start(seed: int, chosen: set[Kind], nodes: int) -> None:
    """If links are cut at all, one is cut from the start, perhaps for the whole round; other cuts wait for its end."""
    cuts = [fault for fault in planned(seed, chosen, nodes) if fault.kind is Kind.CUT_RELAY]
    assert bool(cuts) == (Kind.CUT_RELAY in chosen and nodes > 1)
    until: dict[frozenset[int], float] = {}
    for number, cut in enumerate(cuts):
        link = frozenset(cut.targets)
        assert len(link) == 2
        assert link <= set(range(1, nodes + 1))
        assert (cut.at == 0.0) == (number == 0)
        assert until.get(link, 0.0) <= cut.at
        until[link] = cut.at + cut.seconds


def test_links_are_cut_in_every_way() -> None:
    """One way or both, silent or closed, for a while or for good."""
    cuts = [fault for seed in range(50) for fault in planned(seed, {Kind.CUT_RELAY}, duration=10.0)]
    assert len({(cut.mutual, cut.silent, math.isinf(cut.seconds)) for cut in cuts}) == 8


@given(seeds, kinds, st.integers(1, 5), st.integers(1, 3))
def test_one_node_and_one_broker_are_always_well(seed: int, chosen: set[Kind], nodes: int, brokers: int) -> None:
    """Of several parts one has always had time to recover, and no part gets a fault while it is away."""
    busy: dict[tuple[str, int], float] = {}
    for fault in planned(seed, chosen, nodes, brokers):
        what = "node" if fault.kind in ON_NODES else "broker" if fault.kind is Kind.KILL_BROKER else ""
        if what:
            (target,) = fault.targets
            size = nodes if what == "node" else brokers
            assert 1 <= target <= size
            assert busy.get((what, target), 0.0) <= fault.at
            busy[what, target] = fault.at + fault.seconds + BUSY[fault.kind]
            assert size == 1 or sum(busy.get((what, n + 1), 0.0) <= fault.at for n in range(size)) >= 1
        elif fault.kind is Kind.CUT_CONNECTION:
            assert 1 <= len(fault.targets) <= 10
            assert set(fault.targets) <= set(range(1, 101))
        least, most = LASTS.get(fault.kind, (0.0, 0.0))
        assert least <= fault.seconds <= (math.inf if fault.kind is Kind.CUT_RELAY and not fault.at else most)
