"""An error at the start of a part is one line that says what to do."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.cluster import cluster
from support.ports import free_ports
from support.processes import processes, run

LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+ (info|warning) ")


def fails(*arguments: str, status: int = 1) -> str:
    """Run `parlour`, which must fail with this status and one line; return the line."""
    done = run(*arguments)
    assert done.returncode == status, done
    assert done.stdout == ""
    # A node may have logged other lines before, such as that the system forbids io_uring.
    (line,) = [line for line in done.stderr.splitlines() if not LOGGED.match(line)]
    assert line.startswith("parlour: ")
    return line


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_brokers_port_in_use(which: int) -> None:
    """The error names each of the three ports and says what to do."""
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + which)):
        line = fails("broker", "--bind", f"127.0.0.1:{port}")
    assert f"port {port + which}" in line
    assert "--bind" in line


def test_a_nodes_port_in_use(tmp_path: Path) -> None:
    """The error names the port and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails("node", "--listen", f"127.0.0.1:{port}", "--log", f"sqlite://{tmp_path}/log.sqlite")
    assert f"port {port} of 127.0.0.1 is in use" in line
    assert "--listen" in line


def test_no_broker(tmp_path: Path) -> None:
    """Node, client, monitor and the other commands say where they looked and how to start a broker."""
    address = f"127.0.0.1:{free_ports()}"
    commands = [
        ("node", "--log", f"sqlite://{tmp_path}/log.sqlite"),
        ("send", "--name", "bot", "--room", "lobby", "hello"),
        ("monitor", "--once"),
        ("why", "ada"),
    ]
    # Each command waits a few seconds before it gives up, so they run at the same time.
    with ThreadPoolExecutor() as pool:
        lines = list(pool.map(lambda command: fails(*command, "--broker", address), commands))
    for line in lines:
        assert address in line
        assert "parlour broker" in line or "parlour up" in line


def test_a_broker_with_an_unknown_host(tmp_path: Path) -> None:
    """A node says so, like all other commands, and does not advise to start a broker there."""
    line = fails("node", "--log", f"sqlite://{tmp_path}/log.sqlite", "--broker", "nowhere.invalid:6000")
    assert "there is no host nowhere.invalid" in line
    assert "start one" not in line


def test_a_log_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that is no log, a folder, a missing folder, and an invalid URL."""
    notes = tmp_path / "notes.txt"
    notes.write_text("a line of notes that no database begins with\n" * 100)
    assert "not a room log" in fails("node", "--log", f"sqlite://{notes}")
    assert "it is no file" in fails("node", "--log", f"sqlite://{tmp_path}")
    assert "does not exist" in fails("node", "--log", f"sqlite://{tmp_path}/nowhere/log.sqlite")
    assert "a room log is memory://" in fails("node", "--log", "postgres://db", status=2)


@pytest.fixture
def fleet_of_one(tmp_path: Path) -> object:
    """Run a broker and the node n1."""
    port = free_ports()
    with processes() as started:
        started.broker(port)
        started.node("n1", port, tmp_path / "log.sqlite")
        yield f"127.0.0.1:{port}"


def test_two_nodes_with_different_logs(fleet_of_one: str, tmp_path: Path) -> None:
    """The second node is told that the fleet has another log."""
    line = fails("node", "--name", "n2", "--broker", fleet_of_one, "--log", f"sqlite://{tmp_path}/other.sqlite")
    assert "another room log" in line
    assert "--log" in line


def test_a_node_name_twice(fleet_of_one: str, tmp_path: Path) -> None:
    """The second node is told where the first is."""
    line = fails("node", "--name", "n1", "--broker", fleet_of_one, "--log", f"sqlite://{tmp_path}/log.sqlite")
    assert "n1 is already in the fleet" in line
    assert "--name" in line


def test_a_long_host_name_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name may have 64 characters, and the node's name also has the port."""
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 64)
    with cluster(0) as running:
        assert running.add_node("").name.startswith("h" * 58 + "-")
