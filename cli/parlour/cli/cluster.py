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
from parlour.cli.ports import NodePorts
from parlour.cli.record import Record, Setup
from parlour.monitor.feed import ask_fleet
from parlour.runtime.addresses import numeric_address
from parlour.wire.control import is_here
from parlour.wire.errors import ParlourError, UnavailableError
from parlour.wire.limits import parse_address

__all__ = ["Cluster", "running_nodes"]

START_TIMEOUT = 20.0
"""Seconds for the broker, and again for all the nodes, to be there."""

FORGET_TIMEOUT = 5.0
"""Seconds in which a broker is sure to notice that a node has died: it waits for three reports of a second each."""

PROBE_INTERVAL = 0.05
"""Seconds between two looks at whether what was started is there."""


def running_nodes(broker: str) -> dict[str, str] | None:
    """Return the nodes in the fleet of the broker that runs at this address already; None if nobody listens there.

    The nodes are in order, each with the address at which clients reach it.

    Raises UnavailableError if somebody does who is no broker, ParlourError if the address is none of this machine's.
    """
    host, port = parse_address(broker)
    number = numeric_address(host)
    try:
        # ZeroMQ would go on trying to connect where nobody listens; TCP says so at once.
        socket.create_connection((number, port), timeout=1.0).close()
    except OSError:
        return None
    try:
        return _present(broker, timeout=2.0)
    except UnavailableError:
        raise UnavailableError(
            f"{broker} is in use by something that does not answer as a broker: choose another address with --broker"
        ) from None


def _present(broker: str, timeout: float) -> dict[str, str]:
    """Return the addresses of the nodes in the fleet by their names, n2 before n10."""
    # For a while a broker goes on listing nodes that have left.
    here = [state.report for state in ask_fleet([broker], timeout)[1].nodes if is_here(state.state)]
    return {report.node: report.address for report in sorted(here, key=lambda each: (len(each.node), each.node))}


class Cluster:
    """A broker and nodes. With a record they are detached: they outlive this process.

    `earlier` are parts that another `up` has started, running or not.
    """

    def __init__(
        self, broker: str, setup: Setup, ports: NodePorts, record: Record | None, earlier: Sequence[Child] = ()
    ) -> None:
        self.broker = broker
        self.setup = setup
        self.ports = ports
        self.children = [child for child in earlier if child.alive]
        self.started: list[Child] = []
        """The parts that `start` has started, the first of them first."""
        self._dead = {child.name for child in earlier} - {child.name for child in self.children}
        self._record = record

    def start(self, pause: Callable[[float], None]) -> dict[str, str]:
        """Start the broker and the nodes that do not run; return the fleet's nodes and addresses when all are in it.

        `pause` waits for so many seconds and may raise to give up. Whatever is raised, nothing that was started is left
        running. If a child ends, raises ParlourError with its words, or SystemExit if they are on our standard error.
        """
        try:
            present = self._at_broker()
            if present is None:
                self._launch("broker", "broker", "--bind", self.broker)
                self._await([], pause)
                present = {}
            elif self._dead.intersection(present):
                present = self._forgotten(pause)
            there = {child.name for child in self.children}.union(present)
            for name in self.setup.names:
                if name not in there:
                    self._launch_node(name)
            return self._await(self.setup.names, pause)
        except BaseException:
            # On SIGINT one that has only begun prints where it was. No node has clients yet to send to others.
            stop_all(self.started, signal.SIGTERM)
            raise

    def stop(self) -> None:
        """Stop everything, nodes first."""
        stop_all(self.children)

    def _at_broker(self) -> dict[str, str] | None:
        try:
            return running_nodes(self.broker)
        except UnavailableError as error:
            raise self._stuck(["broker"]) or error from None

    def _launch_node(self, name: str) -> None:
        arguments = ["--broker", self.broker, "--name", name, "--listen", self.ports.choose(name)]
        arguments += ["--log", self.setup.log] if self.setup.log else []
        arguments += ["--retain", self.setup.retain] if self.setup.retain else []
        self._launch(name, "node", *arguments)

    def _forgotten(self, pause: Callable[[float], None]) -> dict[str, str]:
        """Return the fleet once the broker has noticed who died: who is in it still was started anew by somebody."""
        deadline = time.monotonic() + FORGET_TIMEOUT
        while self._dead.intersection(present := _present(self.broker, timeout=2.0)) and time.monotonic() < deadline:
            pause(PROBE_INTERVAL)
        return present

    def _launch(self, name: str, *arguments: str) -> None:
        # A person in front of it wants to hear of trouble alone.
        level = self.setup.log_level or ("info" if self._record else "warning")
        arguments += ("--log-format", self.setup.log_format, "--log-level", level)
        if self.setup.metrics is not None:
            host, _, port = self.setup.metrics.rpartition(":")
            arguments += ("--metrics", f"{host}:{int(port) + ['broker', *self.setup.names].index(name)}")
        if self._record is not None:
            arguments += ("--log-file", str(self._record.log(name)))
        child = launch(name, arguments, self._record.output(name) if self._record else None)
        self.started.append(child)
        self.children.append(child)
        if self._record is not None:
            # At once, so that `down` finds it even if we are killed before the next.
            self._record.save(self.children, self.setup, self.ports.chosen)

    def _await(self, nodes: Sequence[str], pause: Callable[[float], None]) -> dict[str, str]:
        """Return the fleet when these nodes are in it."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                present: dict[str, str] | None = _present(self.broker, timeout=0.5)
            except UnavailableError:
                present = None
            for child in [child for child in self.started if not child.alive]:
                self._replace(child)
            missing = ["broker"] if present is None else [name for name in nodes if name not in present]
            if present is not None and not missing:
                return present
            if time.monotonic() >= deadline:
                where = f"in {self._record.folder}" if self._record else "above"
                raise self._stuck(missing) or UnavailableError(
                    f"{' and '.join(missing)} did not come up within {START_TIMEOUT:g} s: see the output {where}"
                )
            pause(PROBE_INTERVAL)

    def _stuck(self, missing: Sequence[str]) -> UnavailableError | None:
        """Return the error for a part that runs from before and does nothing, if there is one."""
        for child in self.children:
            if child.name in missing and child not in self.started:
                return UnavailableError(
                    f"{child.label} runs as process {child.pid}, but does not answer: `kill -9 {child.pid}`, "
                    f"and then `parlour up -d --broker {self.broker}` again"
                )
        return None

    def _replace(self, child: Child) -> None:
        """Start a node again at another port if it lost its own; raise the error of a child that ended otherwise."""
        if not self.ports.lost(child.name):
            raise self._stillborn(child)
        child.release()
        self.started.remove(child)
        self.children.remove(child)
        self._launch_node(child.name)

    def _stillborn(self, child: Child) -> BaseException:
        if child.output is not None:
            words = child.last_words() or "it said nothing"
            return ParlourError(f"{child.label} did not start: {words} (output in {child.output})")
        if child.status in (1, 2):
            # It has said what is wrong, in one line, where ours would go: another would only hide it.
            return SystemExit(1)
        return ParlourError(f"{child.label} ended with status {child.status}: its output is above")
