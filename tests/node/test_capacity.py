"""The capacity of a node: never more clients than the system allows."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from parlour.node.clients import capacity
from parlour.node.clients.capacity import SystemLimit, allowed_clients, system_limits
from parlour.wire.errors import ParlourError
from support.cluster import RawClient, fleet
from support.ports import free_ports
from support.processes import processes
from support.waiting import MS


def test_smallest_limit_counts() -> None:
    """A line names the smallest limit; without place for a client the node does not start."""
    many, few, none = (SystemLimit(count, f"limit {count}", "raise it") for count in (10_000, 80, -20))
    assert allowed_clients(100, [many]) == (100, "")
    assert allowed_clients(100, [many, few]) == (80, "takes 80 clients instead of 100: limit 80: raise it")
    with pytest.raises(ParlourError, match="no place for a client: limit -20: raise it"):
        allowed_clients(100, [many, none])


def test_limits_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always a limit of files; threads are limited per user, per control group and by the kernel."""
    assert all(limit.clients > 0 for limit in system_limits())
    (tmp_path / "pids.max").write_text("500\n")
    (tmp_path / "pids.current").write_text("100\n")
    monkeypatch.setattr(capacity, "_groups", lambda: iter([tmp_path]))
    monkeypatch.setattr(capacity, "_is_privileged", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000, 5000))
    found = {limit.reason: limit.clients for limit in system_limits()}
    (group,) = [clients for what, clients in found.items() if str(tmp_path) in what]
    assert group == 500 - 100 - capacity.OWN_THREADS
    (user,) = [what for what in found if "ulimit -u" in what]
    assert 0 < int(re.findall(r"[0-9]+", user)[1]) < 5000
    (tmp_path / "pids.max").write_text("max\n")
    assert not any(str(tmp_path) in limit.reason for limit in system_limits())


def limited(files: int, port: int) -> list[str]:
    """Return the command of a node that may open so many files."""
    arguments = ["node", "--name", "n1", "--broker", f"127.0.0.1:{port}", "--log", "memory://"]
    return ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", sys.executable, "-m", "parlour.cli", *arguments]


def test_few_files_lower_the_capacity() -> None:
    """The node reports a lower capacity, so the broker sends no more; without place for a client it does not start."""
    port = free_ports()
    with processes() as started:
        started.broker(port)
        with subprocess.Popen(limited(404, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
            try:
                assert node.stdout is not None
                assert "ready" in node.stdout.readline()
                (state,) = fleet(f"127.0.0.1:{port}").nodes
                assert state.report.capacity == 20
                with ExitStack() as closing:
                    for number in range(20):
                        client = closing.enter_context(RawClient(f"127.0.0.1:{port}", f"ada{number}"))
                        client.join("lobby")
            finally:
                node.terminate()
                _, said = node.communicate(timeout=10_000 * MS)
        assert (
            "takes 20 clients instead of 10000: only 404 files may be open, and the node itself needs 384: "
            "raise that limit (ulimit -n)" in said
        )
        done = subprocess.run(limited(330, port), capture_output=True, text=True, timeout=20_000 * MS, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith(
            "parlour: the system leaves this node no place for a client: only 330 files"
        )
