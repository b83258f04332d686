from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.broker import Balancer, BrokerSettings
from parlour.wire.codec import encode
from parlour.wire.control import Assign, Candidate, Decision, NodeState, Report


def report(name: str, **fields: Any) -> Report:
    """Return a plausible report of the node; `fields` replace some of its values."""
    fields = {"instance": f"{name}-a", "address": f"{name}:1", "relay": f"{name}:2", "log": "L", **fields}
    return Report(node=name, **{"capacity": 1000, **fields})


def fleet(count: int, now: float = 0.0, **fields: Any) -> Balancer:
    """Return a balancer that has heard one report of each of the nodes n1, n2 and so on."""
    balancer = Balancer()
    for number in range(1, count + 1):
        assert balancer.report(report(f"n{number}", **fields), now) is None
    return balancer


def arrivals(balancer: Balancer, count: int, now: float = 0.0, first: int = 0) -> Counter[str | None]:
    """Assign this many clients at once, and return how many went to each node."""
    return Counter(balancer.assign(Assign(name="ada"), now, f"t{first + index}").node for index in range(count))


def states(balancer: Balancer, now: float = 0.0) -> dict[str, NodeState]:
    """Return the status by node."""
    return {state.report.node: state for state in balancer.fleet.status(now)}


def lost(balancer: Balancer, now: float) -> list[str]:
    """Let time pass, and return the nodes that are listed as lost."""
    balancer.tick(now)
    return [name for name, state in states(balancer, now).items() if state.state == "lost"]


# --- spread ---------------------------------------------------------------------------------------------------


@given(nodes=st.integers(1, 20), clients=st.integers(0, 300))
def test_equal_nodes_get_equal_shares(nodes: int, clients: int) -> None:
    """For any number of clients between two reports, equal nodes differ by at most one client."""
    shares = arrivals(fleet(nodes), clients)
    counts = [shares[f"n{number}"] for number in range(1, nodes + 1)]
    assert sum(counts) == clients
    assert max(counts) - min(counts) <= 1


def test_shares_follow_capacity() -> None:
    """A node with twice the capacity gets twice the clients."""
    balancer = fleet(1, capacity=200)
    balancer.report(report("n2", capacity=100), 0.0)
    assert arrivals(balancer, 150) == {"n1": 100, "n2": 50}


def test_rotation() -> None:
    """Of nodes with equal load the one chosen least recently is next, also after loads fall."""
    balancer = Balancer(BrokerSettings(slow_start=0.0))
    for name in ("n1", "n2", "n3"):
        balancer.report(report(name), 0.0)
    assert [balancer.assign(Assign(name="ada"), 0.0, f"t{index}").node for index in range(2)] == ["n1", "n2"]
    for name, ticket in (("n1", "t0"), ("n2", "t1")):
        balancer.report(report(name, redeemed=[ticket]), 0.1)  # The clients came and left again.
    assert [balancer.assign(Assign(name="ada"), 0.2, f"u{index}").node for index in range(3)] == ["n3", "n1", "n2"]


@given(
    starts=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    between=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2), st.integers(0, 60)), max_size=12),
)
def test_burst_over_fresh_nodes(starts: list[float], between: list[tuple[int, int, int]]) -> None:
    """Of 300 clients over three nodes that have just started, none gets more than 101, whatever the reports say."""
    balancer = Balancer()
    names = ["n1", "n2", "n3"]
    for name, start in sorted(zip(names, starts, strict=True), key=lambda pair: pair[1]):
        balancer.report(report(name), start)
    shares: Counter[str] = Counter()
    waiting: dict[str, list[str]] = {name: [] for name in names}
    clients: Counter[str] = Counter()
    given_out, now = 0, 1.0
    for burst, which, came in [*between, (300, 0, 0)]:
        for _ in range(min(burst, 300 - given_out)):
            chosen = balancer.assign(Assign(name="ada"), now, f"t{given_out}").node
            assert chosen is not None
            shares[chosen] += 1
            waiting[chosen].append(f"t{given_out}")
            given_out += 1
        name = names[which]
        redeemed, waiting[name] = waiting[name][:came], waiting[name][came:]
        clients[name] += len(redeemed)
        now += 0.01
        balancer.report(report(name, clients=clients[name], redeemed=redeemed), now)
    assert sum(shares.values()) == 300
    assert max(shares.values()) <= 101


# --- slow start -----------------------------------------------------------------------------------------------


def test_new_node_is_not_flooded() -> None:
    """A node that joins a busy fleet gets its fair share of new clients at first, not all of them."""
    balancer = fleet(3, clients=500)
    balancer.report(report("n4"), 20.0)
    for number in range(1, 4):
        balancer.report(report(f"n{number}", clients=500), 20.0)
    shares = arrivals(balancer, 100, 20.0)
    assert all(24 <= shares[f"n{number}"] <= 26 for number in range(1, 5))


@pytest.mark.parametrize(("age", "least", "most"), [(0.0, 24, 26), (9.0, 99, 100), (10.0, 100, 100)])
def test_credit_shrinks(age: float, least: int, most: int) -> None:
    """The older the new node, the more of its lack it may take; after ten seconds it may take all."""
    balancer = fleet(3, clients=500)
    for now in (20.0, 22.0, 24.0, 26.0, 28.0, 20.0 + age):
        for number in range(1, 4):
            balancer.report(report(f"n{number}", clients=500), now)
        balancer.report(report("n4"), now)
        if now == 20.0 + age:
            break
    assert least <= arrivals(balancer, 100, now)["n4"] <= most


def test_credit_is_no_capacity() -> None:
    """Phantom clients raise a node's load but never make it full."""
    balancer = Balancer()
    balancer.report(report("n1", clients=10, capacity=10), 0.0)
    balancer.report(report("n2", capacity=10), 0.0)
    assert arrivals(balancer, 11) == {"n2": 10, None: 1}


# --- who may join ---------------------------------------------------------------------------------------------


def test_another_log_is_refused() -> None:
    """A node with another room log stays out, and the refusal names both logs."""
    balancer = fleet(1)
    refusal = balancer.report(report("n3", log="X"), 0.0)
    assert refusal is not None
    assert refusal.code == "other_log"
    assert refusal.text == (
        "node n3 uses another room log (X) than the fleet of 1 (L): start it with the --log of the others"
    )
    assert list(states(balancer)) == ["n1"]


def test_the_log_of_most_nodes_counts() -> None:
    """A stray node heard first after a broker's start does not keep the fleet out; the stray is told why it must go."""
    balancer = Balancer()
    assert balancer.report(report("n1", log="X", clients=1000, capacity=1000, instance="stray"), 0.0) is None
    refusal = balancer.report(report("n1"), 0.1)
    assert refusal is not None
    assert refusal.code == "name_taken"
    assert balancer.report(report("n2"), 0.1) is None, "two of three use it"
    assert balancer.report(report("n1"), 1.1) is None
    assert {name: state.report.log for name, state in states(balancer, 1.1).items()} == {"n1": "L", "n2": "L"}
    assert arrivals(balancer, 2, 1.1) == {"n1": 1, "n2": 1}, "the stray node's clients do not come"
    refusal = balancer.report(report("n3", log="X"), 1.2)
    assert refusal is not None
    assert "another room log (X) than the fleet of 2 (L)" in refusal.text


def test_enrolments_have_no_vote() -> None:
    """Nodes that start again and again with a wrong log, or were silent for long, form no majority."""
    balancer = fleet(1)
    for number in range(20):
        refusal = balancer.report(report(f"m{number}", log="X"), 0.0, enrols=True)
        assert refusal is not None
        balancer.report(report(f"s{number}", log=f"X{number}"), 0.0)
    assert balancer.report(report("n1"), 2.0) is None
    assert list(states(balancer)) == ["n1"]


def test_an_empty_fleet_takes_any_log() -> None:
    """When all nodes have left, a node with another log may start a new fleet."""
    balancer = fleet(2)
    for name in ("n1", "n2"):
        balancer.report(report(name, stopping=True), 1.0)
    assert balancer.report(report("n3", log="X"), 1.0) is None
    assert balancer.report(report("n1", log="L", instance="n1-b"), 1.0) is not None


def test_a_taken_name_is_refused() -> None:
    """A second node of the same name is told where the first is; its last report does not remove the first."""
    balancer = fleet(1)
    for stopping in (False, True):
        refusal = balancer.report(report("n1", instance="n1-b", address="h:9", stopping=stopping), 1.0)
        assert refusal is not None
        assert refusal.code == "name_taken"
        assert refusal.text == "a node named n1 is already in the fleet at n1:1: choose another --name"
    assert states(balancer)["n1"].report.instance == "n1-a"


@pytest.mark.parametrize("farewell", [True, False])
def test_a_name_is_free_again(farewell: bool) -> None:
    """A node may return under its name when its former instance has left or is lost, even without a tick between."""
    balancer = fleet(1)
    if farewell:
        balancer.report(report("n1", stopping=True), 1.0)
    now = 1.0 if farewell else 3.0
    assert balancer.report(report("n1", instance="n1-b"), now) is None
    assert [(state.report.instance, state.state) for state in balancer.fleet.status(now)] == [("n1-b", "ok")]


def test_another_protocol_is_refused() -> None:
    """A node with another major version stays out."""
    refusal = Balancer().report(report("n1", protocol="2.0"), 0.0)
    assert refusal is not None
    assert refusal.code == "bad_version"


# --- who leaves -----------------------------------------------------------------------------------------------


def test_silent_nodes_leave() -> None:
    """A node that misses three of its own intervals is lost, is not chosen, and is forgotten after a minute."""
    balancer = fleet(1)
    balancer.report(report("n2", interval=5.0), 0.0)
    version = balancer.fleet.version
    assert balancer.next_deadline(0.0) == 3.0
    assert lost(balancer, 2.99) == []
    assert states(balancer, 2.99)["n1"].state == "late"
    assert lost(balancer, 3.0) == ["n1"]
    assert balancer.fleet.version == version + 1
    assert [peer.node for peer in balancer.fleet.peers()] == ["n2"]
    assert arrivals(balancer, 2, 3.0) == {"n2": 2}
    assert balancer.next_deadline(3.0) == 15.0
    assert lost(balancer, 15.0) == ["n1", "n2"]
    assert arrivals(balancer, 1, 15.0) == {None: 1}
    assert lost(balancer, 63.0) == ["n2"]


def test_few_of_many_that_left_stay_listed() -> None:
    """If many nodes come and go within a minute, only the latest are remembered."""
    balancer = Balancer(BrokerSettings(remembered=10))
    for number in range(100):
        balancer.report(report(f"n{number}"), 0.0)
        balancer.report(report(f"n{number}", stopping=True), 0.0)
    assert states(balancer).keys() == {f"n{number}" for number in range(90, 100)}


@pytest.mark.parametrize(
    ("stopping", "instance", "pending"), [(False, "n1-a", 3), (False, "n1-b", 0), (True, "n1-a", 0)]
)
def test_a_late_node_keeps_its_tickets(stopping: bool, instance: str, pending: int) -> None:
    """Clients sent to a node that was silent for a while still count; those of one that has ended do not."""
    balancer = fleet(1)
    assert arrivals(balancer, 5, 1.0) == {"n1": 5}
    if stopping:
        balancer.report(report("n1", stopping=True), 1.0)
    assert lost(balancer, 5.0) == ([] if stopping else ["n1"])
    balancer.report(report("n1", instance=instance, clients=2, redeemed=["t0", "t1"]), 5.0)
    assert states(balancer, 5.0)["n1"].pending == pending
    assert lost(balancer, 8.0) == ["n1"]


def test_assign_ticks() -> None:
    """An assignment itself checks the clock, so it never chooses a node that has become silent."""
    assert arrivals(fleet(2), 1, 3.0) == {None: 1}


def test_a_ticket_counts_at_its_own_node() -> None:
    """A node that reports another node's ticket changes nothing at either node."""
    balancer = fleet(2)
    assert balancer.assign(Assign(name="ada"), 0.0, "t").node == "n1"
    balancer.report(report("n2", redeemed=["t"]), 0.0)
    assert {name: state.pending for name, state in states(balancer).items()} == {"n1": 1, "n2": 0}


def test_an_expired_ticket_frees_its_place() -> None:
    """A node full of clients that never came can be chosen again when their tickets have expired."""
    balancer = fleet(1, capacity=2, interval=60.0)
    assert arrivals(balancer, 3, 1.0) == {"n1": 2, None: 1}
    assert balancer.next_deadline(1.0) == 31.0
    balancer.tick(31.0)
    assert states(balancer, 31.0)["n1"].pending == 0
    assert arrivals(balancer, 3, 31.0, first=3) == {"n1": 2, None: 1}


def test_a_shorter_interval_counts_at_once() -> None:
    """A node that begins to report more often is lost sooner when it falls silent."""
    balancer = fleet(1, interval=10.0)
    balancer.report(report("n1", interval=1.0), 1.0)
    assert balancer.next_deadline(1.0) == 4.0
    assert lost(balancer, 4.0) == ["n1"]


@pytest.mark.parametrize("interval", [float("nan"), -1.0, 0.0, float("inf"), 1e300])
def test_any_interval_is_bounded(interval: float) -> None:
    """Whatever interval a node states, it is lost in the end."""
    balancer = fleet(1, interval=interval)
    assert lost(balancer, 180.0) == ["n1"]


def test_a_last_report() -> None:
    """A node that reports its stop leaves at once, and stays listed as gone."""
    balancer = fleet(2)
    assert balancer.report(report("n1", stopping=True), 1.0) is None
    assert states(balancer, 1.0)["n1"].state == "gone"
    assert arrivals(balancer, 2, 1.0) == {"n2": 2}
    assert balancer.report(report("n7", stopping=True), 1.0) is None
    assert "n7" not in states(balancer, 1.0)


def test_reports_alone_rebuild_the_fleet() -> None:
    """A restarted broker knows fleet and loads after one report of each node, and its choices continue."""
    balancer = Balancer()
    for name, clients in (("n1", 3), ("n2", 1), ("n3", 3)):
        balancer.report(report(name, clients=clients, redeemed=["unknown"]), 100.0)
    assert {name: state.report.clients for name, state in states(balancer, 100.0).items()} == {
        "n1": 3,
        "n2": 1,
        "n3": 3,
    }
    assert all(state.pending == 0 for state in balancer.fleet.status(100.0))
    assert balancer.fleet.settled(2.9) is False
    assert balancer.fleet.settled(3.0) is True


def test_a_new_broker_waits_for_slow_reporters() -> None:
    """If one node reports seldom, other nodes may do so too and may not have been heard yet."""
    balancer = fleet(1, interval=5.0)
    balancer.report(report("n2"), 0.0)
    assert balancer.fleet.settled(14.9) is False
    assert balancer.fleet.settled(15.0) is True


@settings(deadline=None)
@given(data=st.data())
def test_any_figures_are_accepted(data: st.DataObject) -> None:
    """Whatever figures nodes report, clients get an answer, and the status can be encoded."""
    integers = st.integers(-(2**63), 2**64 - 1)
    balancer = Balancer()
    for now in range(4):
        for name in data.draw(st.lists(st.sampled_from(["n1", "n2", "n3"]))):
            figures: dict[str, Any] = {word: data.draw(integers) for word in ("clients", "capacity", "rooms", "memory")}
            balancer.report(report(name, interval=data.draw(st.floats()), **figures), now)
        decision = balancer.assign(Assign(name="ada"), now, f"t{now}")
        assert (decision.node is None) == (decision.code != "")
        encode([decision.decision(), balancer.fleet.status(now)])


# --- requests with a wish -------------------------------------------------------------------------------------


def test_a_failed_node_is_skipped() -> None:
    """A node that one client could not reach is not offered to it again, but to other clients."""
    balancer = fleet(2)
    decision = balancer.assign(Assign(name="ada", failed=["n1", "gone"]), 0.0, "t1").decision()
    assert decision.node == "n2"
    assert decision.reason == "the only node that can take a client (the client could not reach n1)"
    assert {candidate.node: candidate.note for candidate in decision.candidates} == {
        "n2": "",
        "n1": "the client could not reach it",
    }
    assert balancer.assign(Assign(name="bob"), 0.0, "t2").node == "n1"


def test_all_failed_is_refused() -> None:
    """A client that could reach no node is refused with that reason, and counts at no node."""
    balancer = fleet(2)
    decision = balancer.assign(Assign(name="ada", failed=["n1", "n2"]), 0.0, "t1")
    assert (decision.node, decision.code) == (None, "no_node")
    assert "2 out of the client's reach" in decision.reason
    assert (balancer.assigned, balancer.refused) == (0, 1)


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        ("n1", "", "node n1 was requested"),
        ("n2", "no_node", "node n2 was requested, but it is draining"),
        ("n3", "full", "node n3 was requested, but it is full (5 of 5)"),
        ("n4", "no_node", "node n4 was requested, but the client could not reach it"),
        ("n5", "no_node", "there is no node named 'n5' in the fleet"),
    ],
)
def test_a_requested_node(wanted: str, code: str, words: str) -> None:
    """The client gets the node that it requested or a refusal with the reason, even if other nodes are free."""
    balancer = Balancer()
    balancer.report(report("n1", clients=7), 0.0)
    balancer.report(report("n2", draining=True), 0.0)
    balancer.report(report("n3", clients=5, capacity=5), 0.0)
    balancer.report(report("n4"), 0.0)
    decision = balancer.assign(Assign(name="ada", node=wanted, failed=["n4"]), 0.0, "t1").decision()
    assert decision.node == (None if code else wanted)
    assert decision.code == code
    assert decision.reason.startswith(words)
    assert sorted(candidate.node for candidate in decision.candidates) == ["n1", "n2", "n3", "n4"]


def test_a_long_request_is_cut() -> None:
    """The name of a node that does not exist may be long; the remembered reason is not."""
    balancer = fleet(1)
    balancer.assign(Assign(name="ada", node="n" * 100_000), 0.0, "t")
    assert len(encode(balancer.why("ada"))) < 1000


def test_refusals_say_why() -> None:
    """No node, full nodes and draining nodes give different refusals."""
    nobody = Balancer().assign(Assign(name="ada"), 0.0, "t")
    assert (nobody.code, nobody.reason) == ("no_node", "no chat node is alive: start one with `parlour node`")
    full = fleet(2, capacity=0).assign(Assign(name="ada"), 0.0, "t")
    assert full.code == "full"
    assert "(2 full)" in full.reason
    draining = fleet(2, draining=True).assign(Assign(name="ada"), 0.0, "t")
    assert draining.code == "no_node"
    assert "(2 draining)" in draining.reason


# --- decisions remembered -------------------------------------------------------------------------------------


def test_decisions_are_found_by_name_and_room() -> None:
    """A decision is found once by the client's name and by its room, newest first, in any Unicode form."""
    balancer = fleet(2)
    for index, (name, room) in enumerate([("ada", "caf\u00e9"), ("bob", "caf\u00e9"), ("caf\u00e9", "caf\u00e9")]):
        balancer.assign(Assign(name=name, room=room), 0.0, f"t{index}", at=index)
    assert [decision.at for decision in balancer.why("cafe\u0301")] == [2, 1, 0]
    assert [decision.at for decision in balancer.why("ada")] == [0]
    assert balancer.why("carol") == []


def test_memory_of_decisions_is_bounded() -> None:
    """For any number of clients and rooms, only the latest decisions are kept."""
    balancer = Balancer(BrokerSettings(remembered=10, remembered_each=2))
    balancer.report(report("n1"), 0.0)
    for index in range(100):
        balancer.assign(Assign(name=f"c{index}", room="lobby"), 0.0, f"t{index}", at=index)
    assert [decision.at for decision in balancer.why("lobby")] == [99, 98]
    assert balancer.why("c89") == []
    assert [decision.at for decision in balancer.why("c90")] == [90]


def test_a_decision_lists_few_of_many() -> None:
    """In a large fleet the eight lowest nodes are listed, and those skipped for this client; the rest are counted."""
    balancer = fleet(0)
    for number in range(50):
        balancer.report(report(f"n{number:02}", clients=number), 0.0)
    decision = balancer.assign(Assign(name="ada", failed=["n03", "n40"]), 0.5, "t").decision()
    names = [candidate.node for candidate in decision.candidates]
    assert names == ["n00", "n01", "n02", "n04", "n05", "n06", "n07", "n08", "n03", "n40"]
    assert decision.others == 40
    assert decision.candidates[1].load == pytest.approx(0.001)
    assert decision.candidates[1].age == 0.5


def test_a_decision_shows_the_past() -> None:
    """Later changes of nodes do not change what a decision shows."""
    balancer = Balancer(BrokerSettings(slow_start=0.0))
    for name in ("n1", "n2"):
        balancer.report(report(name), 0.0)
    balancer.report(report("n3", capacity=2, clients=1), 0.0)
    balancer.report(report("n4", capacity=1, clients=1), 0.0)
    balancer.report(report("n5", draining=True), 0.0)
    balancer.assign(Assign(name="bob"), 0.0, "t0")
    choice = balancer.assign(Assign(name="ada", failed=["n2"]), 0.5, "t1", at=7)
    told = choice.decision()
    assert told == Decision(
        at=7,
        name="ada",
        room=None,
        node="n1",
        reason="the lowest load, 0.001 (the client could not reach n2)",
        candidates=[
            Candidate("n1", 0.001, 0, 1, 1000, 0.5),
            Candidate("n3", 0.5, 1, 0, 2, 0.5),
            Candidate("n2", 0.0, 0, 0, 1000, 0.5, "the client could not reach it"),
            Candidate("n4", 1.0, 1, 0, 1, 0.5, "it is full (1 of 1)"),
            Candidate("n5", 0.0, 0, 0, 1000, 0.5, "it is draining"),
        ],
    )
    balancer.report(report("n1", clients=700), 1.0)
    balancer.report(report("n3", capacity=2, clients=2), 1.0)
    balancer.report(report("n4", stopping=True), 1.0)
    balancer.tick(20.0)
    assert "n2" not in balancer.fleet.nodes
    assert (choice.decision(), balancer.why("ada")) == (told, [told])


# --- cost -----------------------------------------------------------------------------------------------------


def lines_run(balancer: Balancer, request: Assign) -> int:
    """Return how many lines of Python one assignment executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        # The garbage collector may run other code at any time.
        count += event == "line" and "parlour" in frame.f_globals["__name__"]
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        balancer.assign(request, 0.0, "ticket")
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("request_", [Assign(name="ada"), Assign(name="ada", failed=["n1", "n10"])])
def test_an_assignment_costs_the_same(request_: Assign) -> None:
    """An assignment among 10,000 nodes executes exactly the lines that one among 20 does."""
    assert lines_run(fleet(20), request_) == lines_run(fleet(10_000), request_)


# --- the whole, against a model -------------------------------------------------------------------------------

NAMES = ["n1", "n2", "n3", "n4"]

steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 1.0, 2.5, 12.0])),
    st.tuples(
        st.just("report"),
        st.sampled_from(NAMES),
        st.integers(0, 6),
        st.sampled_from([0, 3, 6, 6, 12]),
        st.sampled_from(["", "", "", "draining", "stopping"]),
        st.integers(0, 3),
    ),
    st.tuples(
        st.just("assign"),
        st.lists(st.sampled_from([*NAMES, "n9"]), max_size=2),
        st.sampled_from([None, None, None, *NAMES, "n9"]),
    ),
)


class Model:
    """A slow, obvious model of the balancer: lists searched from end to end, without a slow start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reports: dict[str, Report] = {}
        self.heard: dict[str, float] = {}
        self.chosen: dict[str, int] = {}
        self.tickets: list[tuple[str, str, float]] = []
        self.turn = 0
        self.balancer = Balancer(BrokerSettings(slow_start=0.0, ticket_life=2.0))

    def leave(self, name: str) -> None:
        """A node falls silent: its tickets and its turn count again if it comes back."""
        for table in (self.reports, self.heard):
            table.pop(name, None)

    def forget(self, name: str) -> None:
        """A node stops: nothing of it counts any more."""
        self.leave(name)
        self.chosen.pop(name, None)
        self.tickets = [ticket for ticket in self.tickets if ticket[1] != name]

    def wait(self, seconds: float) -> None:
        """Time passes: silent nodes are lost, and tickets expire."""
        self.now += seconds
        self.tickets = [ticket for ticket in self.tickets if ticket[2] > self.now]
        for name in [name for name, heard in self.heard.items() if self.now >= heard + 3]:
            self.leave(name)
        self.balancer.tick(self.now)
        deadline = self.balancer.next_deadline(self.now)
        assert deadline is None or deadline > self.now

    def report(self, name: str, clients: int, capacity: int, word: str, came: int) -> None:
        """A node reports, and some of its tickets are redeemed."""
        redeemed = [ticket for ticket, node, _ in self.tickets if node == name][:came]
        sent = report(
            name,
            clients=clients,
            capacity=capacity,
            redeemed=[*redeemed, "unknown"],
            draining=word == "draining",
            stopping=word == "stopping",
        )
        assert self.balancer.report(sent, self.now) is None
        if word == "stopping":
            self.forget(name)
            return
        self.reports[name], self.heard[name] = sent, self.now
        self.chosen.setdefault(name, 0)
        self.tickets = [ticket for ticket in self.tickets if ticket[0] not in redeemed]

    def pending(self, name: str) -> int:
        """Count the node's tickets, one by one."""
        return sum(node == name for _, node, _ in self.tickets)

    def rank(self, name: str) -> tuple[float, int, str]:
        """Return the key of the choice; the lowest node is chosen."""
        load = (self.reports[name].clients + self.pending(name)) / max(1, self.reports[name].capacity)
        return load, self.chosen[name], name

    def assign(self, failed: list[str], wanted: str | None) -> None:
        """A client asks: of the nodes that can take it, the balancer must choose the lowest in rank."""
        takers = [
            name
            for name, last in self.reports.items()
            if not last.draining
            and last.clients + self.pending(name) < last.capacity
            and name not in failed
            and wanted in (None, name)
        ]
        self.turn += 1
        ticket = f"t{self.turn}"
        decision = self.balancer.assign(Assign(name="ada", failed=failed, node=wanted), self.now, ticket).decision()
        assert decision.node == min(takers, key=self.rank, default=None)
        self.check(decision)
        if decision.node is not None:
            self.chosen[decision.node] = self.turn
            self.tickets.append((ticket, decision.node, self.now + 2))

    def check(self, decision: Decision) -> None:
        """Check that the decision shows the state before it."""
        assert (decision.code == "") == (decision.node is not None)
        assert len(decision.candidates) + decision.others == len(self.reports)
        for candidate in decision.candidates:
            assert candidate.pending == self.pending(candidate.node) >= 0
            assert candidate.load == self.rank(candidate.node)[0]
        if decision.node is not None:
            assert next(entry.note for entry in decision.candidates if entry.node == decision.node) == ""

    def compare(self) -> None:
        """Check that both have the same nodes and pending clients."""
        alive = {name: state for name, state in states(self.balancer, self.now).items() if name in self.reports}
        assert {peer.node for peer in self.balancer.fleet.peers()} == self.reports.keys() == alive.keys()
        assert {name: state.pending for name, state in alive.items()} == {name: self.pending(name) for name in alive}


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_the_balancer_keeps_the_model(script: list[tuple[Any, ...]]) -> None:
    """For any order of events, the balancer's choices and counts are those of the model."""
    model = Model()
    for what, *arguments in script:
        getattr(model, what)(*arguments)
        model.compare()
