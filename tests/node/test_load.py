"""What a node counts between two reports."""

from __future__ import annotations

from parlour.node.load import Load


def test_a_ticket_is_told_in_three_reports() -> None:
    """The loss of one report, or of two in a row, leaves no client counted as still on its way."""
    load = Load()
    told = []
    for ticket in ("a", "b", None, None, None):
        if ticket:
            load.redeem(ticket)
        told.append(load.take().redeemed)
    assert told == [["a"], ["a", "b"], ["a", "b"], ["b"], []]
