"""The page of metrics: what it answers, which clients it tolerates, and that it leaves nothing open."""

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
    """Yield what a part would yield."""
    yield GaugeMetricFamily("parlour_test_clients", "Clients.", 7)
    histogram = Histogram()
    for seconds in (0.0001, 0.003, 0.003, 60.0):
        histogram.add(seconds)
    yield histogram_metric("parlour_test_wait_seconds", "Waits.", histogram)


@pytest.fixture
def reasons() -> list[str]:
    """Return the reasons why the part is not ready, for the test to fill."""
    return []


@pytest.fixture
def served(reasons: list[str]) -> Iterator[MetricsPage]:
    """Serve a page."""
    served = MetricsPage("test", "127.0.0.1:0", collect, lambda: "".join(reasons))
    try:
        served.start()
        yield served
    finally:
        served.close()


def test_prometheus_reads_the_page(served: MetricsPage) -> None:
    """It has the part's metrics, those of its process, and histograms in cumulative form."""
    found = figures(served.address)
    assert found["parlour_test_clients"] == 7
    assert found["parlour_test_threads"] == threading.active_count()
    assert found["process_open_fds"] > 3
    assert found["parlour_test_wait_seconds_bucket{le=0.0005}"] == 1
    assert found["parlour_test_wait_seconds_bucket{le=0.005}"] == 3
    assert found["parlour_test_wait_seconds_bucket{le=+Inf}"] == found["parlour_test_wait_seconds_count"] == 4
    assert found["parlour_test_wait_seconds_sum"] == pytest.approx(60.0061)


def test_supervisors_are_answered(served: MetricsPage, reasons: list[str]) -> None:
    """The page tells that the part lives, whether it can work, and which pages there are."""
    assert page(served.address, "/healthz") == (200, "ok\n")
    assert page(served.address, "/readyz?verbose=1") == (200, "ok\n")
    reasons.append("the node is draining")
    assert page(served.address, "/readyz") == (503, "the node is draining\n")
    assert page(served.address, "/etc/passwd")[0] == 404


def test_bad_clients_delay_nobody(served: MetricsPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that send nothing, too much, or no request are limited in number and in time."""
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
        # More connections are closed at once, and each is closed at its deadline.
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
    """The error names the port and the option; nothing stays open."""
    port = served.address.rpartition(":")[2]
    with pytest.raises(ParlourError, match=rf"port {port} of 127.0.0.1 is in use\): choose another with --metrics"):
        MetricsPage("test", served.address, collect, str)


def test_a_bug_in_the_metrics_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is an error of the server, and the log has it."""

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
