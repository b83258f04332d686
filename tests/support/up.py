"""Clusters that `parlour up` runs on this machine: helpers for the command, its output and its processes.

This module owns no state; it runs on the test's thread. It must never wait for a command without a deadline.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from parlour.monitor.feed import ask_fleet
from parlour.wire.control import is_here
from parlour.wire.errors import UnavailableError

__all__ = [
    "at",
    "children",
    "detached",
    "finish",
    "first_line",
    "listening",
    "nodes_at",
    "ready",
    "run",
    "start",
    "taken",
]

DEADLINE = 40
"""Seconds that a command may take before its test fails."""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command and return at once."""
    return subprocess.Popen(
        [sys.executable, "-m", "parlour.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the command's end and return its status, output and errors."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        # Not `communicate` again: children of the process may still hold the pipes open.
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        raise
    return process.returncode, out, err


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command and return its status, output and errors."""
    return finish(start(*arguments))


def nodes_at(broker: str) -> list[str]:
    """Return the nodes in the fleet, or none if no broker answers."""
    try:
        fleet = ask_fleet([broker], timeout=1.0)[1]
    except UnavailableError:
        return []
    return sorted(state.report.node for state in fleet.nodes if is_here(state.state))


def listening(broker: str) -> bool:
    """Whether a program listens at the address."""
    host, _, port = broker.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of the process's children."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


def detached(broker: str) -> dict[str, int]:
    """Return the ids of the processes that `up --detach` started, by name."""
    record = Path(os.environ["XDG_STATE_HOME"]) / "parlour" / broker.replace(":", "-") / "cluster.json"
    return {part["name"]: part["pid"] for part in json.loads(record.read_text())["parts"]}


def at(broker: str, steps: int) -> str:
    """Return the address whose port is `steps` above the broker's."""
    host, _, port = broker.rpartition(":")
    return f"{host}:{int(port) + steps}"


def ready(broker: str, steps: Sequence[int], note: str = "") -> str:
    """Return the `ready` line of `up` if the ports of n1, n2, … are so many steps above the broker's."""
    nodes = [f"n{number} at {at(broker, each)}" for number, each in enumerate(steps, 1)]
    return f"ready: broker {broker}, {', '.join(nodes)}{note}\n"


def taken(address: str) -> socket.socket:
    """Listen at the address, so that no other program can."""
    host, _, port = address.rpartition(":")
    return socket.create_server((host, int(port)))


def first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line that the process prints."""
    assert process.stdout is not None
    return process.stdout.readline()
