"""A process that loses a thread by a bug says so and ends, so that a supervisor can start it again."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from parlour.runtime.broker_rpc import ask
from parlour.wire.control import Describe
from parlour.wire.errors import UnavailableError
from parlour.wire.limits import parse_address
from support.ports import free_ports
from support.processes import Processes, processes

BROKEN = """
import importlib, sys
module, name, method = sys.argv[1:4]
def fail(*_, **__): raise KeyError("what a bug does")
setattr(getattr(importlib.import_module(module), name), method, fail)
from parlour.cli import main
sys.exit(main(sys.argv[7:]))
"""
"""Runs the command with a failing method; `PYTHON -m parlour.cli` comes before the command's own arguments."""


@pytest.fixture
def running() -> Iterator[Processes]:
    """Yield a starter of processes."""
    with processes() as started:
        yield started


def broken(module: str, name: str, method: str) -> tuple[str, ...]:
    """Return the command that runs `parlour` with this method failing."""
    return (sys.executable, "-c", BROKEN, module, name, method)


def critical(errors: str) -> list[str]:
    """Return the critical events of the log, without the time."""
    return [line.partition(" critical ")[2] for line in errors.splitlines() if " critical " in line]


def line(part: str, thread: str) -> str:
    """Return the event of a thread's failure."""
    return (
        f"{part}: the thread {thread} failed (a bug in parlour): KeyError: 'what a bug does' "
        "(PARLOUR_TRACEBACK=1 shows where)"
    )


@pytest.mark.parametrize(
    ("thread", "way"),
    [
        ("n1-fleet", ("parlour.node.cluster.brokers", "BrokerLinks", "_send_report")),
        ("n1-relay", ("parlour.node.cluster.relay", "Relay", "_connect")),
        ("n1-listener", ("parlour.node.clients.pool", "ClientPool", "take")),
    ],
)
def test_a_node_that_lost_a_thread_ends(running: Processes, thread: str, way: tuple[str, str, str]) -> None:
    """One line names the thread, the status is 1, and the other threads stop in order."""
    port = free_ports()
    running.broker(port)
    node = running.launch(
        *("node", "--name", "n1", "--broker", f"127.0.0.1:{port}", "--log", "memory://"), on=broken(*way)
    )
    assert node.stdout is not None
    address = node.stdout.readline().split()[-1]
    # Only the listener waits for a client; without another of the threads the node may end before one comes.
    with suppress(ConnectionRefusedError):
        socket.create_connection(parse_address(address)).close()
    _, errors = node.communicate(timeout=20)
    assert (node.returncode, critical(errors)) == (1, [line("node n1", thread)])
    assert "Traceback" not in errors


def test_a_broker_that_lost_its_thread_ends(running: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback appears only on request."""
    monkeypatch.setenv("PARLOUR_TRACEBACK", "1")
    port = free_ports()
    broker = running.start(
        *("broker", "--bind", f"127.0.0.1:{port}"), on=broken("parlour.broker.service", "Broker", "_answer")
    )
    with pytest.raises(UnavailableError):
        ask([f"127.0.0.1:{port}"], Describe(), 0.5)
    _, errors = broker.communicate(timeout=20)
    assert broker.returncode == 1
    assert critical(errors) == [line("broker", "broker")]
    assert "in fail" in errors
