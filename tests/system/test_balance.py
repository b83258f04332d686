"""How even the clients are spread, and the cost of a silent cluster."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from parlour.runtime.threads import join_all, spawn
from support.cluster import RawClient, fleet
from support.ports import free_ports
from support.processes import processes
from support.waiting import eventually, poll

CLIENTS = 300


def cpu(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_three_hundred_clients(tmp_path: Path) -> None:
    """All ask within one report interval: no node gets more than 101; silent, they use under 1 % of a core."""
    port = free_ports()
    address = f"127.0.0.1:{port}"
    with processes() as started, ExitStack() as stack:
        parts = [started.broker(port), *(started.node(f"n{n}", port, tmp_path / "log.sqlite") for n in (1, 2, 3))]
        eventually(lambda: len([node for node in fleet(address).nodes if node.state == "ok"]) == 3)
        clients: list[RawClient] = []

        def arrive(first: int) -> None:
            for number in range(first, CLIENTS, 4):
                clients.append(stack.enter_context(RawClient(address, f"client-{number}", timeout=20)))

        join_all([spawn(f"arrival-{first}", arrive, first) for first in range(4)], 60)
        counts = Counter(client.node for client in clients)
        assert sum(counts.values()) == CLIENTS
        assert max(counts.values()) <= 101, counts
        for client in clients[:30]:
            client.join("lobby")
        # Presence and heartbeats follow the joins for a while; then the cluster is silent.
        poll(lambda: False, 3)
        before, begun = [cpu(part.pid) for part in parts], time.monotonic()
        poll(lambda: False, 3)
        seconds = time.monotonic() - begun
        used = [(cpu(part.pid) - start) / seconds for part, start in zip(parts, before, strict=True)]
        assert max(used) < 0.01, used
