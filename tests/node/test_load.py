"""What a node counts between two reports, and when it does not wait with the next."""

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


def test_a_ticket_is_told_in_three_reports() -> None:
    """The loss of one report, or of two in a row, leaves no client counted as still on its way."""
    load = Load()
    told = []
    for ticket in ("a", "b", None, None, None):
        if ticket:
            load.redeem(ticket)
        told.append(load.take()["redeemed"])
    assert told == [["a"], ["a", "b"], ["a", "b"], ["b"], []]


def test_a_report_stays_small_however_many_come() -> None:
    """A storm's tickets are told in turns, each in three reports, none in more; those that wait are bounded, too."""
    load = Load()
    tickets = [f"{number:04}" + "\U0001f600" * 28 for number in range(9000)]
    for ticket in tickets:
        load.redeem(ticket)
    told: Counter[str] = Counter()
    for _ in range(8):
        redeemed = load.take()["redeemed"]
        told.update(redeemed)
        assert len(encode(Report("n1", "i", "a:1", "a:2", "L", 1, redeemed=redeemed))) < MAX_REPORT
    assert told == dict.fromkeys(tickets, 3)
    for number in range(2 * MAX_UNREPORTED):
        load.redeem(str(number))
    assert len(load._unreported) == MAX_UNREPORTED


def test_a_node_with_long_tickets_stays_in_the_fleet() -> None:
    """Whoever makes up tickets: an id that no broker gives is refused, so that no report is too large for a broker."""
    with clusters.cluster(1) as running, running.clients("ada"):
        address = parse_address(running.nodes[0].address)
        for bad in ("x" * 33, "\U0001f600" * 64):
            ticket = encode_ticket(Ticket("n1", "bob", time.time() + 30, bad))
            with socket.create_connection(address, timeout=10) as stranger:
                stranger.sendall(frame(Hello("bob", ticket, PROTOCOL)))
                assert b"bad_ticket" in stranger.recv(1000)


def test_a_report_that_is_too_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Better without its lists than not at all: the broker would hold the node for lost."""
    monkeypatch.setattr(fleet, "MAX_REPORT", 600)
    monkeypatch.setattr(Watches, "troubles", lambda _: ["x" * 1000])
    with clusters.cluster(1) as running:
        first = clusters.fleet(running.address).nodes[0].report.cpu
        eventually(lambda: clusters.fleet(running.address).nodes[0].report.cpu != first)
        assert clusters.fleet(running.address).nodes[0].report.troubles == []


def test_a_node_that_becomes_full_or_is_no_longer_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the step: by it the broker decides whether it may send anybody."""
    monkeypatch.setattr(fleet, "LOAD_STEP", 2.0)
    with clusters.cluster(1, NodeSettings(capacity=2, report_interval=60.0)) as running:

        def reported() -> int:
            return clusters.fleet(running.address).nodes[0].report.clients

        with running.clients("ada", "bob") as (ada, _):
            eventually(lambda: reported() == 2)
            ada.close()
            eventually(lambda: reported() == 1)
