"""The page of figures: what it answers, whom it bears with, and that nothing of it stays."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from parlour.runtime import metrics
from parlour.runtime.histogram import Histogram
from parlour.runtime.metrics import CONNECTIONS, MetricsPage, histogram_metric
from parlour.wire.errors import ParlourError
from parlour.wire.limits import parse_address
from support.pages import figures, page
from support.waiting import eventually


def collect() -> Iterator[Metric]:
    """Yield what some part would."""
    yield GaugeMetricFamily("parlour_test_clients", "Clients.", 7)
    histogram = Histogram()
    for seconds in (0.0001, 0.003, 0.003, 60.0):
        histogram.add(seconds)
    yield histogram_metric("parlour_test_wait_seconds", "Waits.", histogram)


@pytest.fixture
def hindrances() -> list[str]:
    """Give what stands in the way, to be filled by the test."""
    return []


@pytest.fixture
def served(hindrances: list[str]) -> Iterator[MetricsPage]:
    """Serve a page."""
    served = MetricsPage("test", "127.0.0.1:0", collect, lambda: "".join(hindrances))
    try:
        served.start()
        yield served
    finally:
        served.close()


def test_figures_are_what_prometheus_reads(served: MetricsPage) -> None:
    """The part's own, those of its process, and histograms that count upwards."""
    found = figures(served.address)
    assert found["parlour_test_clients"] == 7
    assert found["parlour_test_threads"] == threading.active_count()
    assert found["process_open_fds"] > 3
    assert found["parlour_test_wait_seconds_bucket{le=0.0005}"] == 1
    assert found["parlour_test_wait_seconds_bucket{le=0.005}"] == 3
    assert found["parlour_test_wait_seconds_bucket{le=+Inf}"] == found["parlour_test_wait_seconds_count"] == 4
    assert found["parlour_test_wait_seconds_sum"] == pytest.approx(60.0061)


def test_supervisors_are_answered(served: MetricsPage, hindrances: list[str]) -> None:
    """That the part lives, whether it can work, and what else there is."""
    assert page(served.address, "/healthz") == (200, "ok\n")
    assert page(served.address, "/readyz?verbose=1") == (200, "ok\n")
    hindrances.append("the node is draining")
    assert page(served.address, "/readyz") == (503, "the node is draining\n")
    assert page(served.address, "/etc/passwd")[0] == 404


def test_strangers_hold_up_nobody(served: MetricsPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who say nothing, too much, or what is no request; there are only so many of them, and not for long."""
    with ExitStack() as closing:
        mute = [
            closing.enter_context(socket.create_connection(parse_address(served.address), timeout=10))
            for _ in range(CONNECTIONS - 2)
        ]
        mute[0].sendall(b"GET /metrics HTTP/1.1\r\n")
        assert page(served.address, "/healthz")[0] == 200
        for bad in (b"\xff\x00\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n"):
            with socket.create_connection(parse_address(served.address), timeout=10) as other:
                other.sendall(bad)
                assert other.recv(100).startswith(b"HTTP/1.1 405")
        with socket.create_connection(parse_address(served.address), timeout=10) as other:
            other.sendall(b"GET /" + bytes(metrics.REQUEST))
            with suppress(ConnectionResetError):
                assert other.recv(100) == b""
        # Further ones are closed at once, and all after their deadline.
        surplus = [
            closing.enter_context(socket.create_connection(parse_address(served.address), timeout=10)) for _ in range(3)
        ]
        assert surplus[-1].recv(1) == b""
        for connection in served._connections.values():
            connection.due = 0.0
        mute[1].sendall(b"G")
        assert mute[2].recv(1) == b""
    eventually(lambda: not served._connections)
    assert page(served.address, "/healthz")[0] == 200


def test_a_port_in_use_is_one_clear_line(served: MetricsPage) -> None:
    """It names the port and the option; nothing stays open."""
    port = served.address.rpartition(":")[2]
    with pytest.raises(ParlourError, match=rf"port {port} of 127.0.0.1 is in use\): choose another with --metrics"):
        MetricsPage("test", served.address, collect, str)


def test_a_bug_in_the_figures_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is an error of the server's, and in the log."""

    def fail() -> list[Metric]:
        raise KeyError("clients")

    served = MetricsPage("test", "127.0.0.1:0", fail, str)
    try:
        served.start()
        assert page(served.address, "/metrics")[0] == 500
        assert page(served.address, "/healthz")[0] == 200
        assert "KeyError" in caplog.text
    finally:
        served.close()
