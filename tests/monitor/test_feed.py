"""The load feed, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from parlour.broker import Broker, BrokerSettings
from parlour.monitor import LoadFeed
from parlour.monitor.feed import ask_decisions, ask_fleet
from parlour.wire.control import NodeList, Report
from parlour.wire.errors import UnavailableError
from support.ports import free_ports
from support.reports import make_report, publisher
from support.waiting import MS, eventually


@pytest.fixture
def broker() -> Iterator[str]:
    """Run a broker and return its address."""
    service = Broker(BrokerSettings(bind="127.0.0.1:0"))
    service.start()
    yield service.address
    service.stop()


def next_report(feed: LoadFeed) -> Report:
    """Return the next report that comes."""
    return next(feed.reports(5000 * MS))


def test_the_feed_gives_reports(broker: str) -> None:
    """A monitor gets a node's report unchanged."""
    with LoadFeed([broker]) as feed, publisher(broker) as nodes:
        assert feed.broker == broker
        assert isinstance(feed.receive(5000 * MS), NodeList)
        report = nodes.enroll(make_report("n1", clients=3, wait_p99=1.5))
        assert next_report(feed) == report


def test_waiting_has_a_deadline(broker: str) -> None:
    """`receive` and `reports` return at their deadline if no report comes."""
    with LoadFeed([broker]) as feed:
        assert isinstance(feed.receive(5000 * MS), NodeList)
        # A broker that has just started may publish its list twice.
        eventually(lambda: feed.receive(50 * MS) is None)
        start = time.monotonic()
        assert list(feed.reports(50 * MS)) == []
        assert time.monotonic() - start < 1500 * MS


def test_one_of_two_brokers_is_dead(broker: str) -> None:
    """The feed and the questions use the first broker that answers."""
    dead = f"127.0.0.1:{free_ports()}"
    with LoadFeed([dead, broker], timeout=1000 * MS) as feed:
        assert feed.broker == broker
    assert ask_fleet([dead, broker], timeout=1000 * MS)[0] == broker
    assert ask_decisions([dead, broker], "ada", timeout=1000 * MS) == []


def test_no_broker() -> None:
    """Without a broker, entering the feed raises UnavailableError and leaves no socket open."""
    with pytest.raises(UnavailableError, match="no broker answers"), LoadFeed(["127.0.0.1:1"], timeout=50 * MS):
        pass


def test_the_broker_restarts() -> None:
    """The feed goes on when its broker has started again."""
    settings = BrokerSettings(bind=f"127.0.0.1:{free_ports()}")
    first = Broker(settings)
    first.start()
    with LoadFeed([settings.bind]) as feed:
        assert isinstance(feed.receive(5000 * MS), NodeList)
        first.stop()
        second = Broker(settings)
        second.start()
        try:
            assert isinstance(eventually(lambda: feed.receive(100 * MS)), NodeList)
            with publisher(settings.bind) as nodes:
                report = nodes.enroll(make_report("n1"))
                assert next_report(feed) == report
        finally:
            second.stop()
