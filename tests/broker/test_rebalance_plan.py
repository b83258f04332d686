from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parlour.broker.rebalance_plan import NodeLoad, PlannedMove, plan_moves

FLEETS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([1, 3, 100, 100, 250, 400]), st.booleans()), max_size=8
)
"""For each node: its clients, its capacity, and whether it takes clients."""


def fleet(nodes: list[tuple[int, int, bool]]) -> list[NodeLoad]:
    """Return the loads of nodes n0, n1 and so on."""
    return [
        NodeLoad(f"n{index}", clients, capacity, max(0, capacity - clients) if takes else 0)
        for index, (clients, capacity, takes) in enumerate(nodes)
    ]


def carried_out(loads: list[NodeLoad], moves: list[PlannedMove]) -> list[NodeLoad]:
    """Return the loads after the moves; a node that took no clients before takes none now."""
    clients = Counter({load.node: load.clients for load in loads})
    for move in moves:
        clients[move.source] -= move.clients
        clients[move.target] += move.clients
    return [
        replace(load, clients=clients[load.node], room=max(0, load.most - clients[load.node]) if load.room else 0)
        for load in loads
    ]


def shares(loads: list[NodeLoad]) -> list[Fraction]:
    """Return the share of each node, found by trying which nodes are full at the level of the rest."""
    full: set[str] = set()
    while True:
        rest = [load for load in loads if load.node not in full]
        clients = sum(load.clients for load in loads) - sum(load.most for load in loads if load.node in full)
        level = Fraction(clients, max(1, sum(load.weight for load in rest)))
        over = {load.node for load in rest if load.most < level * load.weight}
        if not over:
            return [Fraction(load.most) if load.node in full else level * load.weight for load in loads]
        full |= over


def test_only_the_surplus_moves() -> None:
    """When a node joins, each of the others gives its clients above the mean."""
    loads = fleet([(60, 100, True), (60, 100, True), (0, 100, True)])
    assert plan_moves(loads) == [PlannedMove("n1", "n2", 20), PlannedMove("n0", "n2", 20)]


def test_shares_follow_capacity() -> None:
    """A node with three times the capacity ends with three times the clients."""
    assert plan_moves(fleet([(50, 100, True), (50, 300, True)])) == [PlannedMove("n0", "n1", 25)]


@pytest.mark.parametrize(
    ("clients", "moved"),
    [
        *(([12, 10, 8], 0), ([13, 10, 7], 3), ([0, 0], 0), ([1, 0, 0], 0)),
        *(([105, 100, 95], 0), ([106, 100, 94], 6), ([102, 102, 102, 94], 6)),
    ],
)
def test_the_dead_band(clients: list[int], moved: int) -> None:
    """A node within two clients, or five per cent, of its share is even enough."""
    moves = plan_moves(fleet([(count, 1000, True) for count in clients]))
    assert sum(move.clients for move in moves) == moved


def test_an_empty_node_in_a_big_fleet() -> None:
    """An empty node among many is filled, although each of the others is hardly above its share."""
    moves = plan_moves(fleet([(101, 1000, True)] * 100 + [(0, 1000, True)]))
    assert len(moves) == 100
    assert {(move.target, move.clients) for move in moves} == {("n100", 1)}


def test_a_node_without_room_gives() -> None:
    """A node without room loses its surplus; one below the others is left out of the mean."""
    moves = plan_moves(fleet([(90, 100, False), (30, 100, True), (0, 100, False)]))
    assert moves == [PlannedMove("n0", "n1", 30)]
    assert plan_moves(fleet([(90, 100, True), (0, 100, False)])) == []
    assert plan_moves([]) == []


@given(FLEETS)
@example([(0, 1, True), (3, 1, True)])
@example([(400, 100, True), (5, 100, False), (99, 100, True)])
def test_a_plan_is_final(nodes: list[tuple[int, int, bool]]) -> None:
    """In any fleet the plan after a plan is empty, so clients never swing back and forth."""
    loads = fleet(nodes)
    after = carried_out(loads, plan_moves(loads))
    assert sum(load.clients for load in after) == sum(load.clients for load in loads)
    assert plan_moves(after) == []


@given(FLEETS)
def test_a_plan_evens_out(nodes: list[tuple[int, int, bool]]) -> None:
    """After a plan, even an empty one, every node is within two clients or five per cent of its share."""
    loads = fleet(nodes)
    after = carried_out(loads, plan_moves(loads))
    for load, share in zip(after, shares(loads), strict=True):
        assert abs(load.clients - share) <= max(Fraction(2), share / 20)


@given(FLEETS)
def test_no_node_gives_too_many(nodes: list[tuple[int, int, bool]]) -> None:
    """No node gives more than its surplus, rounded up."""
    loads = fleet(nodes)
    given_ = Counter[str]()
    for move in plan_moves(loads):
        given_[move.source] += move.clients
    for load, share in zip(loads, shares(loads), strict=True):
        assert given_[load.node] < max(Fraction(0), load.clients - share) + 1


@given(FLEETS)
def test_moves_go_from_above_to_below(nodes: list[tuple[int, int, bool]]) -> None:
    """No node gives and takes, none gives more than it has or takes more than it has room for, and pairs are few."""
    loads = {load.node: load for load in fleet(nodes)}
    moves = plan_moves(loads.values())
    given_, taken = Counter[str](), Counter[str]()
    for move in moves:
        assert move.clients > 0
        given_[move.source] += move.clients
        taken[move.target] += move.clients
    assert not given_.keys() & taken.keys()
    assert all(count <= loads[node].clients for node, count in given_.items())
    assert all(count <= loads[node].room for node, count in taken.items())
    assert len(moves) <= max(0, len(given_) + len(taken) - 1)


@given(FLEETS)
def test_moves_are_minimal(nodes: list[tuple[int, int, bool]]) -> None:
    """The plan moves the least number of clients after which each node has its share, rounded up or down."""
    loads = fleet(nodes)
    pairs = list(zip(loads, shares(loads), strict=True))
    beyond = any(abs(load.clients - share) > max(Fraction(2), share / 20) for load, share in pairs)
    given_ = sum(max(0, load.clients - ceil(share)) for load, share in pairs)
    taken = sum(max(0, floor(share) - load.clients) for load, share in pairs)
    assert sum(move.clients for move in plan_moves(loads)) == (max(given_, taken) if beyond else 0)
