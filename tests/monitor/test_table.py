"""The fleet's table: states, lost nodes, totals and imbalance, from reports and a clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.monitor.table import LOST_FOR, FleetTable, Row, Snapshot
from parlour.wire.control import NodeList, NodeState, Peer
from support.reports import make_report


def states(table: FleetTable, now: float) -> dict[str, str]:
    """Return each listed node's state."""
    return {row.report.node: row.state for row in table.snapshot(now).rows}


def node_list(*nodes: str, settled: bool = True) -> NodeList:
    """Return a broker's list with these nodes."""
    return NodeList("b", [Peer(node, f"{node}-instance", "127.0.0.1:1") for node in nodes], settled)


def test_a_node_becomes_late_then_lost() -> None:
    """Silence is measured in the node's own intervals; a lost node stays in the table for a minute."""
    table = FleetTable()
    table.add(make_report("n1", interval=2.0), now=100.0)
    assert states(table, 104.0) == {"n1": "ok"}
    assert states(table, 104.1) == {"n1": "late"}
    assert states(table, 106.1) == {"n1": "lost"}
    assert states(table, 106.0 + LOST_FOR) == {"n1": "lost"}
    assert states(table, 106.1 + LOST_FOR) == {}


def test_a_report_brings_a_lost_node_back() -> None:
    """A lost node is in the fleet again with its next report."""
    table = FleetTable()
    table.add(make_report("n1"), now=0.0)
    assert states(table, 30.0) == {"n1": "lost"}
    table.add(make_report("n1"), now=30.0)
    assert states(table, 30.5) == {"n1": "ok"}


@pytest.mark.parametrize(
    ("fields", "state"),
    [({"draining": True}, "draining"), ({"clients": 100}, "full"), ({"stopping": True}, "gone"), ({}, "ok")],
)
def test_each_state(fields: dict[str, object], state: str) -> None:
    """The table shows each state that a report can tell."""
    table = FleetTable()
    table.add(make_report("n1", **fields), now=0.0)
    assert states(table, 0.5) == {"n1": state}


def test_a_node_missing_in_a_list() -> None:
    """A node that a broker no longer lists is lost at once, unless the broker has just started."""
    table = FleetTable()
    table.add(make_report("n1"), now=0.0)
    table.add(make_report("n2"), now=0.0)
    table.apply(node_list("n1", settled=False), now=0.1)
    assert states(table, 0.2) == {"n1": "ok", "n2": "ok"}
    table.apply(node_list("n1"), now=0.3)
    assert states(table, 0.4) == {"n1": "ok", "n2": "lost"}
    table.add(make_report("n2"), now=0.5)
    assert states(table, 0.6) == {"n1": "ok", "n2": "ok"}


def test_a_seeded_table_needs_no_report() -> None:
    """The broker's status fills the table, with ages and with nodes that have left."""
    table = FleetTable()
    table.seed([NodeState(make_report("n1"), 0.5, "ok", 0), NodeState(make_report("n2"), 40.0, "lost", 0)], now=100.0)
    snapshot = table.snapshot(100.2)
    assert [(row.report.node, row.state, round(row.age, 3)) for row in snapshot.rows] == [
        ("n1", "ok", 0.7),
        ("n2", "lost", 40.2),
    ]
    assert states(table, 121.0) == {"n1": "lost"}


def test_totals_without_lost_nodes() -> None:
    """The totals do not count the clients of a lost node, because they are on other nodes by now."""
    table = FleetTable()
    table.add(make_report("n1", clients=7), now=0.0)
    table.add(make_report("n2", clients=5), now=10.0)
    snapshot = table.snapshot(10.0)
    assert (snapshot.clients, snapshot.capacity, len(snapshot.rows)) == (5, 100, 2)


def test_imbalance_goes_by_capacity() -> None:
    """Nodes with clients in proportion to their capacity have an imbalance of 1."""
    rows = tuple(Row(make_report(f"n{n}", clients=n * 10, capacity=n * 100), 0.0, "ok") for n in (1, 3))
    assert Snapshot(rows).imbalance == pytest.approx(1.0)
    rows = tuple(Row(make_report(f"n{n}", clients=20, capacity=n * 100), 0.0, "ok") for n in (1, 3))
    assert Snapshot(rows).imbalance == pytest.approx(2.0)


def test_imbalance_of_equal_nodes() -> None:
    """With equal capacities the imbalance is the highest number of clients divided by the mean."""
    rows = tuple(Row(make_report(f"n{n}", clients=clients), 0.0, "ok") for n, clients in enumerate((15, 10, 5)))
    assert Snapshot(rows).imbalance == 1.5


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_imbalance_stays_within_its_bounds(counts: list[int]) -> None:
    """The imbalance is 1 if all nodes have the same number, and at most the number of nodes."""
    rows = tuple(Row(make_report(f"n{n}", clients=clients), 0.0, "ok") for n, clients in enumerate(counts))
    imbalance = Snapshot(rows).imbalance
    assert 1.0 - 1e-9 <= imbalance <= max(1, len(counts)) + 1e-9
    if len(set(counts)) <= 1:
        assert imbalance == pytest.approx(1.0)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30),
            st.sampled_from(["report", "list", "stop"]),
            st.sets(st.sampled_from(["n1", "n2", "n3"])),
        ),
        max_size=30,
    ),
    st.floats(0, 120),
)
def test_nodes_are_listed_for_a_minute(events: list[tuple[float, str, set[str]]], later: float) -> None:
    """In any order of events the table lists nodes heard within a minute, and drops nodes unheard for longer."""
    table, now, heard = FleetTable(), 0.0, dict[str, float]()
    for pause, kind, nodes in events:
        now += pause
        if kind == "list":
            table.apply(node_list(*nodes), now)
            continue
        for node in nodes:
            table.add(make_report(node, stopping=kind == "stop"), now)
            heard[node] = now
    now += later
    listed = {row.report.node for row in table.snapshot(now).rows}
    assert {node for node, at in heard.items() if now - at <= LOST_FOR} <= listed
    assert not {node for node, at in heard.items() if now - at > LOST_FOR + 3.001} & listed


@pytest.mark.parametrize("interval", [float("nan"), -1.0, 0.0, float("inf")])
def test_an_absurd_interval_is_bounded(interval: float) -> None:
    """A report with an absurd interval cannot keep its node in the table for ever."""
    table = FleetTable()
    table.add(make_report("n1", interval=interval), now=0.0)
    assert states(table, 0.0) == {"n1": "ok"}
    assert states(table, 181.0) in ({"n1": "lost"}, {})


def test_a_row_is_json() -> None:
    """A row has every field of its report, with the node's name first."""
    row = Row(make_report("n1", clients=3), 0.12345, "ok").as_dict()
    assert next(iter(row)) == "name"
    assert (row["name"], row["clients"], row["age"], row["state"]) == ("n1", 3, 0.123, "ok")
    assert {"address", "capacity", "rooms", "wait_p99", "memory", "instance"} <= set(row)
    assert msgspec.json.decode(msgspec.json.encode(row)) == row
