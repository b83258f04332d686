"""A broker and nodes that run on this machine as child processes: it starts, awaits and stops them in order.

This module owns the order and the deadlines; it runs on the main thread. It must never leave a process running when
a start has failed.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence

from parlour.cli.child import Child, launch, stop_all
from parlour.cli.ports import NodePorts
from parlour.cli.state import Setup, StateFolder
from parlour.monitor.feed import ask_fleet
from parlour.runtime.addresses import numeric_address
from parlour.wire.control import is_here
from parlour.wire.errors import ParlourError, UnavailableError
from parlour.wire.limits import parse_address

__all__ = ["Cluster", "running_nodes"]

START_TIMEOUT = 20.0
"""Seconds that the broker has to start, and then again all the nodes together."""

FORGET_TIMEOUT = 5.0
"""Seconds within which a broker notices that a node has died: when three reports are missing, one a second."""

PROBE_INTERVAL = 0.05
"""Seconds between two looks at the fleet while parts start."""


def running_nodes(broker: str) -> dict[str, str] | None:
    """Return the fleet of the broker at this address; None if no program listens there.

    The result maps each node's name to the address where clients reach it, n2 before n10. Raises UnavailableError if
    a program listens there that does not answer as a broker, ParlourError if the address is not of this machine.
    """
    host, port = parse_address(broker)
    number = numeric_address(host)
    try:
        # ZeroMQ would keep trying to connect to a port where no program listens; TCP fails at once.
        socket.create_connection((number, port), timeout=1.0).close()
    except OSError:
        return None
    try:
        return _fleet(broker, timeout=2.0)
    except UnavailableError:
        raise UnavailableError(
            f"{broker} is in use by a program that does not answer as a broker: choose another address with --broker"
        ) from None


def _fleet(broker: str, timeout: float) -> dict[str, str]:
    # A broker lists nodes that have left for a while longer.
    here = [state.report for state in ask_fleet([broker], timeout)[1].nodes if is_here(state.state)]
    return {report.node: report.address for report in sorted(here, key=lambda each: (len(each.node), each.node))}


class Cluster:
    """A broker and its nodes. With a state folder they are detached: they outlive this process.

    `earlier` are the parts that an earlier `up` started, whether they run or not.
    """

    def __init__(
        self, broker: str, setup: Setup, ports: NodePorts, folder: StateFolder | None, earlier: Sequence[Child] = ()
    ) -> None:
        self.broker = broker
        self.setup = setup
        self.ports = ports
        self.children = [child for child in earlier if child.alive]
        self.started: list[Child] = []
        """The parts that `start` has started, in this order."""
        self._dead = {child.name for child in earlier} - {child.name for child in self.children}
        self._folder = folder

    def start(self, pause: Callable[[float], None]) -> dict[str, str]:
        """Start the parts that do not run, wait until all nodes are in the fleet, and return it like `running_nodes`.

        `pause` waits for a number of seconds; it may raise to give up. After any error, the parts that were started
        are stopped. If a child ends, raises ParlourError with its last line, or SystemExit if the child has already
        printed that line to our standard error.
        """
        try:
            present = self._find_fleet()
            if present is None:
                self._launch("broker", "broker", "--bind", self.broker)
                self._await_nodes([], pause)
                present = {}
            elif self._dead.intersection(present):
                present = self._wait_until_forgotten(pause)
            there = {child.name for child in self.children}.union(present)
            for name in self.setup.names:
                if name not in there:
                    self._launch_node(name)
            return self._await_nodes(self.setup.names, pause)
        except BaseException:
            # Not SIGINT: a child that has just begun would print a traceback. No node has clients to move yet.
            stop_all(self.started, signal.SIGTERM)
            raise

    def stop(self) -> None:
        """Stop all parts, the nodes first."""
        stop_all(self.children)

    def _find_fleet(self) -> dict[str, str] | None:
        try:
            return running_nodes(self.broker)
        except UnavailableError as error:
            raise self._hung_part(["broker"]) or error from None

    def _launch_node(self, name: str) -> None:
        arguments = ["--broker", self.broker, "--name", name, "--listen", self.ports.choose(name)]
        arguments += ["--log", self.setup.log] if self.setup.log else []
        arguments += ["--retain", self.setup.retain] if self.setup.retain else []
        self._launch(name, "node", *arguments, *self.setup.signin)

    def _wait_until_forgotten(self, pause: Callable[[float], None]) -> dict[str, str]:
        """Return the fleet when the broker has noticed which nodes died; a name still in it belongs to a new node."""
        deadline = time.monotonic() + FORGET_TIMEOUT
        while self._dead.intersection(present := _fleet(self.broker, timeout=2.0)) and time.monotonic() < deadline:
            pause(PROBE_INTERVAL)
        return present

    def _launch(self, name: str, *arguments: str) -> None:
        # In the foreground a person reads the log, and wants to read of trouble only.
        level = self.setup.log_level or ("info" if self._folder else "warning")
        arguments += ("--log-format", self.setup.log_format, "--log-level", level)
        if self.setup.metrics is not None:
            host, _, port = self.setup.metrics.rpartition(":")
            arguments += ("--metrics", f"{host}:{int(port) + ['broker', *self.setup.names].index(name)}")
        if self._folder is not None:
            arguments += ("--log-file", str(self._folder.log(name)))
        child = launch(name, arguments, self._folder.output(name) if self._folder else None)
        self.started.append(child)
        self.children.append(child)
        if self._folder is not None:
            # Saved after each part, so that `down` finds it even if this process is killed before the next.
            self._folder.save(self.children, self.setup, self.ports.chosen)

    def _await_nodes(self, nodes: Sequence[str], pause: Callable[[float], None]) -> dict[str, str]:
        """Wait until these nodes are in the fleet, and return it."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                present: dict[str, str] | None = _fleet(self.broker, timeout=0.5)
            except UnavailableError:
                present = None
            for child in [child for child in self.started if not child.alive]:
                self._replace(child)
            missing = ["broker"] if present is None else [name for name in nodes if name not in present]
            if present is not None and not missing:
                return present
            if time.monotonic() >= deadline:
                where = f"in {self._folder.path}" if self._folder else "above"
                raise self._hung_part(missing) or UnavailableError(
                    f"{' and '.join(missing)} did not come up within {START_TIMEOUT:g} s: see the output {where}"
                )
            pause(PROBE_INTERVAL)

    def _hung_part(self, missing: Sequence[str]) -> UnavailableError | None:
        """Return the error for a missing part of an earlier `up` that runs but does not answer, if there is one."""
        for child in self.children:
            if child.name in missing and child not in self.started:
                return UnavailableError(
                    f"{child.label} runs as process {child.pid}, but does not answer: `kill -9 {child.pid}`, "
                    f"and then `parlour up -d --broker {self.broker}` again"
                )
        return None

    def _replace(self, child: Child) -> None:
        """Start a node again at the next port if another program took its port; else raise the child's error."""
        if not self.ports.lost(child.name):
            raise self._start_error(child)
        child.release()
        self.started.remove(child)
        self.children.remove(child)
        self._launch_node(child.name)

    def _start_error(self, child: Child) -> BaseException:
        if child.output is not None:
            words = child.last_line() or "it printed nothing"
            return ParlourError(f"{child.label} did not start: {words} (output in {child.output})")
        if child.status in (1, 2):
            # The child has printed what is wrong, in one line; a line of ours would hide it.
            return SystemExit(1)
        return ParlourError(f"{child.label} ended with status {child.status}: its output is above")
