"""A page of metrics for Prometheus over HTTP: `/metrics`, and `/healthz` and `/readyz` for a supervisor.

This module owns the page's thread, its listening socket and its connections. It must never wait for a reader, keep a
connection beyond its deadline, nor hold more connections than its bound.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from parlour.runtime.addresses import numeric_address
from parlour.runtime.histogram import Histogram
from parlour.runtime.logs import program_log
from parlour.runtime.threads import Service
from parlour.wire.errors import ParlourError
from parlour.wire.limits import parse_address

__all__ = ["Collect", "MetricsPage", "NotReadyReason", "histogram_metric", "serving_metrics"]

CONNECTIONS = 16
"""Connections at once; more are closed."""

DEADLINE = 5.0
"""Seconds that a connection may last."""

REQUEST = 8192
"""Bytes of a request at most."""

Collect = Callable[[], Iterable[Metric]]
"""Returns the metrics of a part."""
NotReadyReason = Callable[[], str]
"""Returns why a part cannot work now, or ""."""


class _Connection:
    """A connection of one reader: first its request comes in, then the answer goes out."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.due = time.monotonic() + DEADLINE
        self.request = b""
        self.answer = memoryview(b"")


class _Figures(Collector):
    """Collects the metrics of a part, and the number of its threads."""

    def __init__(self, part: str, collect: Collect) -> None:
        self._part = part
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()
        yield GaugeMetricFamily(f"parlour_{self._part}_threads", "Threads of the process.", threading.active_count())


class MetricsPage(Service):
    """The HTTP server of one part. Its own thread, `metrics`, uses and closes the sockets."""

    def __init__(self, part: str, address: str, collect: Collect, not_ready_reason: NotReadyReason) -> None:
        """Listen at `address`; raises ParlourError if that is not possible.

        The page's thread calls both functions, and each may take a second: `collect` returns the metrics,
        `not_ready_reason` returns why the part cannot work now, or "".
        """
        super().__init__("metrics")
        self._not_ready_reason = not_ready_reason
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(part, collect))
        ProcessCollector(registry=self._registry)
        self._connections: dict[int, _Connection] = {}
        host, port = parse_address(address)
        number = numeric_address(host)
        family = socket.AF_INET6 if ":" in number else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.setblocking(False)
            self._listener.bind((number, port))
            self._listener.listen(CONNECTIONS)
        except OSError as error:
            self._listener.close()
            what = f"port {port} of {host} is in use" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
            raise ParlourError(f"cannot serve metrics at {address} ({what}): choose another with --metrics") from None
        host = f"[{host}]" if ":" in host else host
        self.address = f"{host}:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop the thread, if it was started, and close the listening socket."""
        self.stop()
        self._listener.close()

    def run(self) -> None:
        """Accept, read and answer until stopped."""
        with select.epoll() as epoll:
            epoll.register(self.wakeup, select.EPOLLIN)
            epoll.register(self._listener, select.EPOLLIN)
            self.ready()
            while not self.stopping:
                for fd, _ in epoll.poll(self._poll_timeout()):
                    if fd == self.wakeup:
                        self.clear_wakeup()
                    elif fd == self._listener.fileno():
                        self._accept(epoll)
                    else:
                        self._serve(epoll, self._connections[fd])
                now = time.monotonic()
                for connection in [each for each in self._connections.values() if each.due <= now]:
                    self._end(connection)
            for connection in list(self._connections.values()):
                self._end(connection)

    def _poll_timeout(self) -> float | None:
        due = min((each.due for each in self._connections.values()), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _accept(self, epoll: select.epoll) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            self._pause_accepting()
            return
        if len(self._connections) >= CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        self._connections[sock.fileno()] = _Connection(sock)
        epoll.register(sock, select.EPOLLIN)

    def _pause_accepting(self) -> None:
        # Without a free descriptor the connection stays in the queue, so the listener is ready again at once.
        time.sleep(0.05)

    def _serve(self, epoll: select.epoll, connection: _Connection) -> None:
        """Read or write what is possible; close the connection when the answer is written or when it broke."""
        try:
            if not connection.answer:
                data = connection.socket.recv(REQUEST)
                connection.request += data
                if b"\r\n\r\n" not in connection.request:
                    if not data or len(connection.request) > REQUEST:
                        self._end(connection)
                    return
                connection.answer = memoryview(self._answer(connection.request))
                epoll.modify(connection.socket, select.EPOLLOUT)
            connection.answer = connection.answer[connection.socket.send(connection.answer) :]
            if not connection.answer:
                self._end(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        del self._connections[connection.socket.fileno()]
        connection.socket.close()  # this also takes it out of the epoll object

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        kind = "text/plain; charset=utf-8"
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"use GET: this page knows no other method\n"
        elif path == "/metrics":
            status, kind, body = self._figures(kind)
        elif path == "/healthz":
            status, body = "200 OK", b"ok\n"
        elif path == "/readyz":
            reason = self._not_ready_reason()
            status, body = ("503 Service Unavailable", f"{reason}\n".encode()) if reason else ("200 OK", b"ok\n")
        else:
            status, body = "404 Not Found", b"no such page: there are /metrics, /healthz and /readyz\n"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + (b"" if method == "HEAD" else body)

    def _figures(self, plain: str) -> tuple[str, str, bytes]:
        try:
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
        except Exception as error:
            program_log.error("cannot collect the metrics (a bug in parlour): %s: %s", type(error).__name__, error)
            return "500 Internal Server Error", plain, b"a bug in parlour: see the log\n"


def histogram_metric(name: str, text: str, histogram: Histogram) -> Metric:
    """Return a histogram in Prometheus's form: each bucket also counts all lower buckets."""
    counts, total = histogram.snapshot()
    reached, pairs = 0, []
    for bound, count in zip([*map(str, histogram.bounds), "+Inf"], counts, strict=True):
        reached += count
        pairs.append((bound, float(reached)))
    return HistogramMetricFamily(name, text, pairs, total)


@contextmanager
def serving_metrics(part: str, address: str, collect: Collect, not_ready_reason: NotReadyReason) -> Iterator[None]:
    """Serve the page of a part while the block runs."""
    page = MetricsPage(part, address, collect, not_ready_reason)
    try:
        page.start()
        program_log.info("metrics at http://%s/metrics", page.address)
        yield
    finally:
        page.close()
