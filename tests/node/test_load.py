"""The load of a node: its counts between two reports, and reports that are sent at once."""

from __future__ import annotations

import socket
import time
from collections import Counter

import pytest

from parlour.node import NodeSettings
from parlour.node.cluster import brokers as fleet
from parlour.node.cluster.brokers import MAX_REPORT
from parlour.node.cluster.load import MAX_UNREPORTED, Load
from parlour.node.cluster.watches import Watches
from parlour.wire.codec import encode, encode_ticket, frame
from parlour.wire.control import Report, Ticket
from parlour.wire.limits import PROTOCOL, parse_address
from parlour.wire.messages import Hello
from support import cluster as clusters
from support.waiting import eventually


def test_ticket_is_in_three_reports() -> None:
    """One report, or two in a row, may be lost, and the broker still learns that the ticket was used."""
    load = Load()
    reported = []
    for ticket in ("a", "b", None, None, None):
        if ticket:
            load.redeem(ticket)
        reported.append(load.take()["redeemed"])
    assert reported == [["a"], ["a", "b"], ["a", "b"], ["b"], []]


def test_report_size_is_bounded() -> None:
    """A storm's tickets are spread over reports, each in exactly three; the waiting tickets are bounded, too."""
    load = Load()
    tickets = [f"{number:04}" + "\U0001f600" * 28 for number in range(9000)]
    for ticket in tickets:
        load.redeem(ticket)
    reported: Counter[str] = Counter()
    for _ in range(8):
        redeemed = load.take()["redeemed"]
        reported.update(redeemed)
        assert len(encode(Report("n1", "i", "a:1", "a:2", "L", 1, redeemed=redeemed))) < MAX_REPORT
    assert reported == dict.fromkeys(tickets, 3)
    for number in range(2 * MAX_UNREPORTED):
        load.redeem(str(number))
    assert len(load._unreported) == MAX_UNREPORTED


def test_long_ticket_ids_are_refused() -> None:
    """A forged ticket with a longer id than brokers give is refused, so that no report grows too large."""
    with clusters.cluster(1) as running, running.clients("ada"):
        address = parse_address(running.nodes[0].address)
        for bad in ("x" * 33, "\U0001f600" * 64):
            ticket = encode_ticket(Ticket("n1", "bob", time.time() + 30, bad))
            with socket.create_connection(address, timeout=10) as stranger:
                stranger.sendall(frame(Hello("bob", ticket, PROTOCOL)))
                assert b"bad_ticket" in stranger.recv(1000)


def test_too_large_report_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent without its lists: without a report the broker would count the node as lost."""
    monkeypatch.setattr(fleet, "MAX_REPORT", 600)
    monkeypatch.setattr(Watches, "troubles", lambda _: ["x" * 1000])
    with clusters.cluster(1) as running:
        first = clusters.fleet(running.address).nodes[0].report.cpu
        eventually(lambda: clusters.fleet(running.address).nodes[0].report.cpu != first)
        assert clusters.fleet(running.address).nodes[0].report.troubles == []


def test_full_state_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small change is reported too, if the node becomes full or free: the broker needs that to send clients."""
    monkeypatch.setattr(fleet, "LOAD_STEP", 2.0)
    with clusters.cluster(1, NodeSettings(capacity=2, report_interval=60.0)) as running:

        def reported() -> int:
            return clusters.fleet(running.address).nodes[0].report.clients

        with running.clients("ada", "bob") as (ada, _):
            eventually(lambda: reported() == 2)
            ada.close()
            eventually(lambda: reported() == 1)
