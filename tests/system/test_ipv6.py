"""A cluster whose hosts are names with only IPv6 addresses or with both kinds; the system resolves the names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support import redis_server
from support.ports import free_ports
from support.processes import processes, run
from support.waiting import eventually

HOSTS = "127.0.0.1 localhost\n::1 six.test\n::1 both.test\n127.0.0.1 both.test\n"


def _missing() -> str:
    if os.geteuid() != 0:
        return "only root can give a process names of its own: names of IPv6 addresses are NOT TESTED"
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "this kernel gives no process names of its own: NOT TESTED" if tried.returncode else ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@pytest.fixture
def on(tmp_path: Path) -> list[str]:
    """Return the first words of a command that runs in a mount namespace with names of its own."""
    names = tmp_path / "hosts"
    names.write_text(HOSTS)
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(names)]


@pytest.mark.parametrize(
    ("listens", "name"),
    [("six.test", "six.test"), ("[::1]", "both.test"), ("127.0.0.1", "both.test")],
    ids=["a name of IPv6 alone", "a name of both, there by IPv6", "a name of both, there by IPv4"],
)
def test_names(on: list[str], listens: str, name: str, tmp_path: Path) -> None:
    """Broker, nodes, relays, clients and a monitor use them."""
    port = free_ports(3)
    broker = f"{name}:{port}"
    with processes() as started:
        started.start("broker", "--bind", f"{listens}:{port}", on=on)
        options = ["--broker", broker, "--listen", f"{listens}:0", "--log", f"sqlite://{tmp_path}/log"]
        for node in ("n1", "n2"):
            started.start("node", "--name", node, *options, on=on)
        tails = [
            started.launch(
                "tail", "--json", "--broker", broker, "--room", "lobby", "--count", "1", "--name", who, on=on
            )
            for who in ("eve", "joe")
        ]

        def present() -> bool:
            fleet = json.loads(run("status", "--json", "--broker", broker, on=on).stdout)
            return [node["clients"] for node in fleet["nodes"]] == [1, 1]

        eventually(present, 20, "a tail at each node")
        sent = run("send", "--broker", broker, "--name", "ada", "--room", "lobby", "hello", on=on)
        assert (sent.returncode, sent.stderr) == (0, "")
        for tail in tails:
            said, errors = tail.communicate(timeout=20)
            assert (json.loads(said)["text"], errors) == ("hello", "")
        watched = run("monitor", "--once", "--json", "--broker", broker, on=on)
        assert (watched.returncode, watched.stderr) == (0, "")


@pytest.mark.skipif(bool(redis_server.MISSING), reason=redis_server.MISSING)
def test_a_room_log_at_an_ipv6_name(on: list[str], tmp_path: Path) -> None:
    """Nodes reach a Redis under such a name."""
    port = free_ports(3)
    with redis_server.redis_server(tmp_path, "--bind", "127.0.0.1", "::1") as server, processes() as started:
        started.start("broker", "--bind", f"six.test:{port}", on=on)
        log = server.url.replace("127.0.0.1", "six.test")
        options = ["--listen", "six.test:0", "--guests", "yes", "--log", log]
        started.start("node", "--broker", f"six.test:{port}", *options, on=on)
        sent = run("send", "--broker", f"six.test:{port}", "--name", "ada", "--room", "lobby", "hello", on=on)
        assert (sent.returncode, sent.stderr) == (0, "")
