"""A broker and some nodes on this machine, as child processes: started in order, awaited, stopped in order.

This module owns the order and the deadlines; it runs on the main thread. It must never leave a process behind when
a start has failed.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence

from parlour.cli.child import Child, launch, stop_all
from parlour.cli.record import Record
from parlour.monitor.feed import ask_fleet
from parlour.monitor.table import is_here
from parlour.wire.errors import ParlourError, UnavailableError
from parlour.wire.limits import parse_address

__all__ = ["Cluster", "running_nodes"]

START_TIMEOUT = 20.0
"""Seconds for the broker, and again for all the nodes, to be there."""

PROBE_INTERVAL = 0.05
"""Seconds between two looks at whether what was started is there."""


def running_nodes(broker: str) -> list[str] | None:
    """Return who is in the fleet of the broker that runs at this address already; None if nobody listens there.

    Raises ParlourError if somebody does who is no broker.
    """
    try:
        # ZeroMQ would go on trying to connect where nobody listens; TCP says so at once.
        socket.create_connection(parse_address(broker), timeout=1.0).close()
    except OSError:
        return None
    try:
        return sorted(_present(broker, timeout=2.0), key=lambda name: (len(name), name))
    except UnavailableError:
        raise ParlourError(
            f"{broker} is in use by something that does not answer as a broker: choose another address with --broker"
        ) from None


def _present(broker: str, timeout: float) -> set[str]:
    # A broker goes on listing for a while who has left.
    return {state.report.node for state in ask_fleet([broker], timeout)[1].nodes if is_here(state.state)}


class Cluster:
    """A broker and nodes of these names. With a record they are detached: they outlive this process."""

    def __init__(
        self,
        broker: str,
        nodes: Sequence[str],
        log: str | None,
        retain: str | None,
        log_format: str,
        log_level: str | None,
        metrics: str | None,
        record: Record | None,
    ) -> None:
        self.broker = broker
        self.nodes = nodes
        self.children: list[Child] = []
        self._log = log
        self._retain = retain
        self._metrics = metrics
        # A person in front of it wants to hear of trouble alone.
        self._log_options = ["--log-format", log_format]
        self._log_options += ["--log-level", log_level or ("info" if record else "warning")]
        self._record = record

    def start(self, pause: Callable[[float], None]) -> None:
        """Start the broker, then the nodes, and return when all are in the fleet.

        `pause` waits for so many seconds and may raise to give up. Whatever is raised, nothing is left running.
        If a child ends, raises ParlourError with its own words, or SystemExit if they are on our standard error.
        """
        try:
            self._launch("broker", "broker", "--bind", self.broker)
            self._await([], pause)
            host = self.broker.rpartition(":")[0]
            for name in self.nodes:
                arguments = ["--broker", self.broker, "--name", name, "--listen", f"{host}:0"]
                arguments += ["--log", self._log] if self._log else []
                arguments += ["--retain", self._retain] if self._retain else []
                self._launch(name, "node", *arguments)
            self._await(self.nodes, pause)
        except BaseException:
            # On SIGINT one that has only begun prints where it was. No node has clients yet to send to others.
            self._stop(signal.SIGTERM)
            raise

    def stop(self) -> list[Child]:
        """Stop everything, nodes first; return those that had to be killed."""
        return self._stop(signal.SIGINT)

    def _stop(self, number: signal.Signals) -> list[Child]:
        killed = stop_all(self.children, number)
        if self._record is not None:
            self._record.forget()
        return killed

    def _launch(self, name: str, *arguments: str) -> None:
        arguments += tuple(self._log_options)
        if self._metrics is not None:
            host, _, port = self._metrics.rpartition(":")
            arguments += ("--metrics", f"{host}:{int(port) + len(self.children)}")
        if self._record is None:
            self.children.append(launch(name, arguments, None))
        else:
            arguments += ("--log-file", str(self._record.log(name)))
            self.children.append(launch(name, arguments, self._record.output(name)))
        if self._record is not None:
            # At once, so that `down` finds it even if we are killed before the next.
            self._record.save(self.children, self._log)

    def _await(self, nodes: Sequence[str], pause: Callable[[float], None]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            missing = self._missing(nodes)
            for child in self.children:
                if not child.alive:
                    raise self._stillborn(child)
            if not missing:
                return
            if time.monotonic() >= deadline:
                where = f"in {self._record.folder}" if self._record else "above"
                raise UnavailableError(
                    f"{' and '.join(missing)} did not come up within {START_TIMEOUT:g} s: see the output {where}"
                )
            pause(PROBE_INTERVAL)

    def _missing(self, nodes: Sequence[str]) -> list[str]:
        try:
            present = _present(self.broker, timeout=0.5)
        except UnavailableError:
            return ["the broker"]
        return [name for name in nodes if name not in present]

    def _stillborn(self, child: Child) -> BaseException:
        if child.output is not None:
            words = child.last_words() or "it said nothing"
            return ParlourError(f"{child.label} did not start: {words} (output in {child.output})")
        if child.status in (1, 2):
            # It has said what is wrong, in one line, where ours would go: another would only hide it.
            return SystemExit(1)
        return ParlourError(f"{child.label} ended with status {child.status}: its output is above")
