from __future__ import annotations

import heapq
from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.broker import Balancer, BrokerSettings
from parlour.broker.storm import Storm
from parlour.wire.control import Assign, Report


def report(name: str, **fields: Any) -> Report:
    """Return a plausible report of the node; `fields` replace some of its values."""
    fields = {"instance": f"{name}-a", "address": f"{name}:1", "relay": f"{name}:2", "log": "L", **fields}
    return Report(node=name, **{"capacity": 10_000, "interval": 60.0, **fields})


def after_the_loss(clients: int, *others: Report, **options: Any) -> Balancer:
    """Return a balancer of these nodes and of `dead`, which has just stopped with this many clients."""
    balancer = Balancer(BrokerSettings(**options))
    for each in (report("dead", clients=clients), *others):
        assert balancer.report(each, 0.0) is None
    balancer.report(report("dead", clients=clients, stopping=True), 1.0)
    return balancer


class Outcome(NamedTuple):
    """The outcome of a crowd: when and where each client was admitted, and how often it was refused."""

    placed: list[tuple[float, str]]
    refused: Counter[str]

    def crowded(self) -> Counter[str]:
        """Return the most clients that each node got within any second."""
        most: Counter[str] = Counter()
        for node in {node for _, node in self.placed}:
            times = [at for at, where in self.placed if where == node]
            first = 0
            for last, at in enumerate(times):
                while times[first] <= at - 1.0:
                    first += 1
                most[node] = max(most[node], last - first + 1)
        return most


def crowd(
    balancer: Balancer, arrivals: list[float], late: float = 0.0, back: list[Report] | None = None, **fields: Any
) -> Outcome:
    """Let one client ask at each of these times, and again at its turn, up to `late` of its wait later.

    The nodes `back` join in the fifth second.
    """
    joining = back or []
    asking = [(at, number) for number, at in enumerate(arrivals)]
    heapq.heapify(asking)
    outcome = Outcome([], Counter())
    while asking:
        now, number = heapq.heappop(asking)
        while joining and now >= 5.0:
            assert balancer.report(joining.pop(), now) is None
        name = f"c{number}"
        decision = balancer.assign(Assign(name, **fields), now, f"{name}-{outcome.refused[name]}")
        if decision.node is not None:
            outcome.placed.append((now, decision.node))
            continue
        assert decision.code in ("storm", "full")
        outcome.refused[name] += 1
        wait = balancer.retry_after(decision, now)
        assert wait > 0
        heapq.heappush(asking, (now + wait * (1 + late * (number % 100) / 100), number))
    return outcome


def test_five_thousand_come_back() -> None:
    """A dead node's clients are all placed in the time that the others need for them, each after one wait."""
    balancer = after_the_loss(5000, report("n1"), report("n2"))
    outcome = crowd(balancer, [1.0] * 5000)
    assert len(outcome.placed) == 5000
    assert outcome.placed[-1][0] <= 1.0 + 5000 / 1000 + 2
    assert max(outcome.refused.values()) == 1
    assert all(most <= 500 * 1.2 for most in outcome.crowded().values())
    # The clients of the first second do not wait.
    assert sum(at == 1.0 for at, _ in outcome.placed) == 1000


@settings(max_examples=40, deadline=None)
@given(
    admits=st.lists(st.sampled_from([16.0, 20.0, 40.0, 80.0]), min_size=1, max_size=4),
    loads=st.lists(st.integers(0, 300), min_size=4, max_size=4),
    capacities=st.lists(st.sampled_from([2000, 4000]), min_size=4, max_size=4),
    spread=st.floats(0, 2),
    late=st.sampled_from([0.0, 0.3]),
)
def test_every_crowd_is_placed(
    admits: list[float], loads: list[int], capacities: list[int], spread: float, late: float
) -> None:
    """Whatever the nodes carry and admit, and however the clients come, no node is overrun and no client waits long."""
    nodes = [
        report(f"n{index}", admits=each, clients=loads[index], capacity=capacities[index], interval=60.0)
        for index, each in enumerate(admits)
    ]
    rate, count = sum(admits), 400
    outcome = crowd(after_the_loss(count, *nodes), [1.0 + spread * index / count for index in range(count)], late)
    assert len(outcome.placed) == count
    # Clients that come within `spread` are behind by that much; a late client is late by a part of its wait.
    assert outcome.placed[-1][0] <= 1.0 + (spread + count / rate + 2) * (1 + late) ** 2
    assert max(outcome.refused.values(), default=0) <= 4
    for node, most in outcome.crowded().items():
        assert most <= admits[int(node[1:])] * 1.2


def test_all_nodes_out_of_reach() -> None:
    """If many clients missed every live node, the turns still follow what those nodes admit, not one a second."""
    balancer = after_the_loss(1000, report("n1"), report("n2"))
    for node in ("n1", "n2"):
        for number in range(20):
            balancer.assign(Assign(f"{node}-{number}", failed=[node]), 1.0, f"{node}-{number}")
    outcome = crowd(balancer, [1.0] * 1000)
    assert outcome.placed[-1][0] <= 1.0 + 1000 / 500 + 2


def test_nobody_waits_without_a_loss() -> None:
    """Without a loss no number of clients is too many at once."""
    balancer = Balancer()
    for name in ("n1", "n2", "n3"):
        balancer.report(report(name, admits=10.0), 0.0)
    assert not crowd(balancer, [0.0] * 300).refused


@pytest.mark.parametrize(("left", "storm"), [(0, False), (20, False), (21, True)])
def test_moved_clients_are_not_lost(left: int, storm: bool) -> None:
    """Only the clients that a stopping node cut off come back, not all of its earlier report."""
    balancer = Balancer()
    balancer.report(report("n1", clients=5000), 0.0)
    balancer.report(report("n2", admits=20.0), 0.0)
    balancer.report(report("n1", clients=300, draining=True), 0.9)
    balancer.report(report("n1", clients=left, draining=True, stopping=True), 1.0)
    assert balancer.is_storm(1.0) is storm


@pytest.mark.parametrize(("clients", "later"), [(20, 0.0), (1000, 30.0)])
def test_a_small_or_old_loss_is_no_storm(clients: int, later: float) -> None:
    """A loss of as many clients as the nodes take in a second delays nobody, nor does one half a minute ago."""
    balancer = after_the_loss(clients, report("n1", admits=10.0), report("n2", admits=10.0))
    assert not crowd(balancer, [1.0 + later] * 300).refused


def test_a_returned_node_is_no_loss() -> None:
    """A node that was only silent for a while still has its clients."""
    balancer = Balancer()
    balancer.report(report("n1", interval=1.0, clients=5000), 0.0)
    balancer.report(report("n2", admits=10.0), 0.0)
    balancer.tick(3.0)
    assert balancer.is_storm(3.0)
    balancer.report(report("n1", interval=1.0, clients=5000), 3.5)
    assert not balancer.is_storm(3.5)


def test_unreachable_is_lost() -> None:
    """A node that ten clients could not reach is lost before it is silent; a draining node is not."""
    balancer = Balancer()
    for name in ("n1", "n2", "n3"):
        balancer.report(report(name, clients=5000), 0.0)
    for index in range(100):
        balancer.assign(Assign("ada", failed=["n1"]), 0.0, f"a{index}")
        balancer.assign(Assign(f"c{index}", node="n2", failed=["n1"]), 0.0, f"b{index}")
    assert not balancer.is_storm(0.0)
    balancer.report(report("n3", clients=5000, draining=True), 0.1)
    for index in range(100):
        balancer.assign(Assign(f"c{index}", failed=["n3"]), 0.2, f"c{index}")
    assert not balancer.is_storm(0.2)
    for index in range(9):
        assert not balancer.is_storm(0.2)
        balancer.assign(Assign(f"c{index}", failed=["n1"]), 0.2, f"d{index}")
    assert balancer.is_storm(0.2)
    balancer.report(report("n1", clients=5000), 0.3)
    outcome = crowd(balancer, [0.3] * 3000, failed=["n1"])
    assert outcome.refused
    assert outcome.crowded()["n2"] <= 600


def test_each_report_resets_the_misses() -> None:
    """Many clients that miss a node, but few of them between two of its reports, do not make it lost."""
    balancer = Balancer()
    for name in ("n1", "n2"):
        balancer.report(report(name, clients=5000), 0.0)
    for index in range(20):
        balancer.assign(Assign(f"c{index}", failed=["n1"]), float(index), f"t{index}")
        if index % 5 == 4:
            balancer.report(report("n1", clients=5000), float(index))
    assert not balancer.is_storm(20.0)


def test_a_turn_is_kept() -> None:
    """An early client is told the same time again; a client on time is admitted under any load; a turn counts once."""
    balancer = after_the_loss(100, report("n1", admits=2.0))
    asked = 0

    def ask(name: str, now: float, **fields: Any) -> float:
        nonlocal asked
        asked += 1
        decision = balancer.assign(Assign(name, **fields), now, f"t{asked}")
        return 0.0 if decision.node else balancer.retry_after(decision, now)

    assert [ask(name, 1.0) for name in ("a", "b", "c", "d")] == [0.0, 0.0, 1.0, 1.5]
    assert ask("c", 1.5) == 0.5
    for now in (1.6, 1.7, 1.8, 1.9, 2.0):
        assert ask(f"pusher-at-{now}", now) > 0
    assert ask("c", 2.0) == 0.0
    assert ask("d", 2.5, node="n1") == 0.0
    assert ask("c", 3.2) > 2.0


def test_turns_are_bounded() -> None:
    """No more turns are remembered than the bound, and unused turns are forgotten."""
    storm = Storm(BrokerSettings(waiting=10, turn_life=5.0))
    storm.node_lost(report("n1"), 1000, 0.0)
    assert storm.is_active(0.0, 1.0)
    waits = [storm.take_turn(f"c{index}", 0.0, 1.0) for index in range(100)]
    assert waits[:12] == [0.0, *(float(turn) for turn in range(1, 12))]
    assert set(waits[11:]) == {11.0}
    assert storm.wait_time("c5", 0.0) == 5.0
    assert storm.wait_time("c50", 0.0) == 11.0
    assert not storm.is_active(30.0, 1.0)
    assert storm.take_turn("c5", 30.0, 1.0) == 0.0


def test_a_late_turn_is_kept_longer() -> None:
    """A client that had to wait long may come later by a part of its wait, so that clients do not come in step."""
    storm = Storm(BrokerSettings(turn_life=1.0))
    storm.node_lost(report("n1"), 1000, 0.0)
    for index in range(50):
        storm.take_turn(f"c{index}", 0.0, 1.0)
    assert storm.is_active(29.0, 1.0)
    assert storm.take_turn("c20", 29.0, 1.0) == 0.0
    assert storm.take_turn("c15", 29.0, 1.0) == 21.0


@pytest.mark.parametrize(("let_in", "free"), [(10, 3.0), (1, 2.1)])
def test_no_tokens_while_clients_wait(let_in: int, free: float) -> None:
    """After the last turn the nodes admit only what they take in the time since, not a second's worth at once."""
    storm = Storm(BrokerSettings())
    storm.node_lost(report("n1"), 1000, 0.0)
    assert [storm.take_turn(f"first{index}", 0.0, 10.0) for index in range(let_in)] == [0.0] * let_in
    for index in range(round((free - 1) * 10)):
        assert storm.postpone(f"queued{index}", 0.0, 10.0) > 0
    assert [storm.take_turn(f"last{index}", free + 0.25, 10.0) for index in range(3)] == [0.0, 0.0, 1.0]


@settings(max_examples=20, deadline=None)
@given(
    admits=st.lists(st.sampled_from([4.0, 16.0, 20.0, 80.0]), min_size=2, max_size=5),
    share=st.floats(0.1, 0.9),
)
def test_returned_nodes_shorten_the_queue(admits: list[float], share: float) -> None:
    """New clients are admitted beside those that got turns while few nodes were left, and those keep their turns."""
    first, *others = [report(f"n{index}", admits=each) for index, each in enumerate(admits)]
    before, spare = round(20 * admits[0]), sum(admits) - admits[0]
    newcomers = [5.0 + index / (share * spare) for index in range(round(10 * share * spare))]
    outcome = crowd(after_the_loss(100_000, first), [1.0] * before + newcomers, back=others)
    assert len(outcome.placed) == before + len(newcomers)
    assert all(outcome.refused[f"c{number}"] <= 1 for number in range(before))
    assert sum(at > 17.0 for at, _ in outcome.placed) <= 4 * admits[0]
    for node, most in outcome.crowded().items():
        assert most <= max(1, admits[int(node[1:])] * 1.2)


def test_new_turns_fill_the_gaps() -> None:
    """Each second has as many turns as the nodes take now, and every earlier turn stays in place."""
    storm = Storm(BrokerSettings())
    storm.node_lost(report("n1"), 1000, 0.0)
    old = {f"old{index}": storm.take_turn(f"old{index}", 0.0, 4.0) for index in range(40)}
    assert storm.is_active(2.0, 8.0)
    new = sorted(2.0 + storm.take_turn(f"new{index}", 2.0, 8.0) for index in range(60))
    turns = Counter(int(at) for at in new)
    assert [turns[second] for second in range(3, 14)] == [4] * 7 + [8] * 4
    assert all(storm.take_turn(name, at, 8.0) == 0.0 for name, at in old.items() if at >= 2.0)
    assert not storm.is_active(60.0, 8.0)


def test_a_storm_ends_with_its_queue() -> None:
    """Turns hold beyond the half minute after the loss, until the last of them has passed."""
    balancer = after_the_loss(400, report("n1", admits=10.0))
    outcome = crowd(balancer, [1.0] * 400 + [35.0])
    assert outcome.placed[-2][0] == pytest.approx(40.9)
    assert outcome.refused["c400"] == 1
    assert outcome.crowded()["n1"] <= 12
    assert not balancer.is_storm(42.0)


def test_why_speaks_of_the_storm() -> None:
    """A refusal names the lost node, the number of clients, the rate and the turn; a decision tells of it, too."""
    balancer = after_the_loss(5000, report("n1", admits=2.0, clients=9), report("n2", admits=3.0))
    placed = [balancer.assign(Assign(f"c{index}"), 1.0, f"t{index}") for index in range(5)]
    assert [decision.node for decision in placed] == ["n2", "n2", "n2", "n1", "n1"]
    assert placed[-1].reason.endswith(", of the nodes that can take one more client this second")
    balancer.assign(Assign("ada", node="n2"), 1.0, "x")
    balancer.assign(Assign("ada"), 1.5, "y")
    words = "5000 clients of dead are coming back, and the nodes admit 5 a second: this client's turn is in"
    newer, older = balancer.why("ada")
    assert (newer.code, newer.reason) == ("storm", f"{words} 0.5 s")
    assert (older.code, older.reason) == ("storm", f"node n2 was requested, but {words} 1.0 s")
    assert (newer.node, balancer.refused) == (None, 2)


def test_closed_nodes_add_no_rate() -> None:
    """Full nodes and nodes out of reach add nothing to the rate of all nodes."""
    full = report("n2", capacity=0, admits=1000.0)
    balancer = after_the_loss(5000, report("n1", admits=2.0), full, report("n3", admits=1000.0))
    decisions = [balancer.assign(Assign(f"c{index}", failed=["n3"]), 1.0, f"t{index}") for index in range(12)]
    assert "and the nodes admit 2 a second" in decisions[-1].reason


@pytest.mark.parametrize("admits", [float("nan"), -1.0, 0.0, float("inf"), 1e300])
def test_any_rate_is_bounded(admits: float) -> None:
    """Whatever rate a node states, clients are admitted in the end."""
    balancer = after_the_loss(5000, report("n1", admits=admits))
    assert len(crowd(balancer, [1.0] * 20).placed) == 20
