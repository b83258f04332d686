"""What a node counts between two reports, and when it does not wait with the next."""

from __future__ import annotations

import pytest

from parlour.node import NodeSettings, fleet
from parlour.node.load import Load
from support import cluster as clusters
from support.waiting import eventually


def test_a_ticket_is_told_in_three_reports() -> None:
    """The loss of one report, or of two in a row, leaves no client counted as still on its way."""
    load = Load()
    told = []
    for ticket in ("a", "b", None, None, None):
        if ticket:
            load.redeem(ticket)
        told.append(load.take()["redeemed"])
    assert told == [["a"], ["a", "b"], ["a", "b"], ["b"], []]


def test_a_node_that_becomes_full_or_is_no_longer_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the step: by it the broker decides whether it may send anybody."""
    monkeypatch.setattr(fleet, "STEP", 2.0)
    with clusters.cluster(1, NodeSettings(capacity=2, report_interval=60.0)) as running:

        def reported() -> int:
            return clusters.fleet(running.address).nodes[0].report.clients

        with running.clients("ada", "bob") as (ada, _):
            eventually(lambda: reported() == 2)
            ada.close()
            eventually(lambda: reported() == 1)
