"""The assignment listener: it hears from the brokers' feed where they sent clients."""

from __future__ import annotations

import time

import pytest

from parlour.broker import Broker, BrokerSettings
from parlour.chaos.assignment_listener import AssignmentListener
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.control import Assign
from parlour.wire.limits import PROTOCOL
from support.reports import make_report, publisher
from support.waiting import eventually

ADA = Assign("ada", protocol=PROTOCOL)


def test_assignments_are_noted() -> None:
    """The listener notes when a broker sends a client to a node; a refusal is no assignment."""
    broker = Broker(BrokerSettings(bind="127.0.0.1:0", settle=0.1))
    broker.start()
    try:
        with AssignmentListener([broker.address]) as answers, publisher(broker.address) as nodes:
            with pytest.raises(RefusedError):
                ask([broker.address], ADA)
            nodes.enroll(make_report())
            # The subscription may come after the first answers.
            eventually(lambda: ask([broker.address], ADA) and answers.times)
            assert list(answers.times) == ["ada"]
            assert answers.times["ada"] == sorted(answers.times["ada"])
            assert 0 <= time.time() - answers.times["ada"][-1] < 60
    finally:
        broker.stop()
