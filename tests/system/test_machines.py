"""A cluster over several machines: each part on a host of its own, a room log in Redis, cables that are pulled."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support import hosts as hosts_module
from support import redis_server
from support.hosts import Hosts, hosts
from support.processes import processes, run
from support.waiting import eventually

pytestmark = pytest.mark.skipif(
    bool(hosts_module.MISSING or redis_server.MISSING), reason=hosts_module.MISSING or redis_server.MISSING
)


def states(net: Hosts, broker: str) -> dict[str, str]:
    """Return the state of each node, as `parlour status` tells it on the broker's host."""
    done = run("status", "--json", "--broker", broker, on=net.on("broker"))
    return {node["name"]: node["state"] for node in json.loads(done.stdout)["nodes"]} if done.returncode == 0 else {}


def said(tail: subprocess.Popen[str], count: int) -> list[str]:
    """Return the texts of the next messages that a `parlour tail --json` prints."""
    assert tail.stdout is not None
    return [json.loads(tail.stdout.readline())["text"] for _ in range(count)]


def test_nodes_on_several_machines_share_their_rooms(tmp_path: Path) -> None:
    """People on two machines' nodes talk; a machine is cut off, and when it is back its people have missed nothing."""
    with hosts("broker", "one", "two", "redis") as net, processes() as started:
        broker, log = f"{net.address['broker']}:6000", f"redis://{net.address['redis']}:6379/0"
        options = ["--bind", net.address["redis"], "--protected-mode", "no", "--save", "", "--dir", str(tmp_path)]
        server = subprocess.Popen([*net.on("redis"), "redis-server", *options], stdout=subprocess.DEVNULL)
        try:
            ping = [*net.on("redis"), "redis-cli", "-h", net.address["redis"], "ping"]
            eventually(lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n", 10)
            started.start("broker", "--bind", broker, on=net.on("broker"))
            for name in ("one", "two"):
                listen = f"{net.address[name]}:7000"
                options = ["--name", name, "--broker", broker, "--listen", listen, "--log", log]
                started.start("node", *options, on=net.on(name))
            eventually(lambda: states(net, broker) == {"one": "ok", "two": "ok"})
            options = ["--json", "--broker", broker, "--room", "lobby", "--history", "9"]
            tails = [started.launch("tail", *options, on=net.on("broker")) for _ in range(2)]

            def say(*texts: str) -> None:
                done = run("send", "--broker", broker, "--name", "bot", "--room", "lobby", *texts, on=net.on("broker"))
                assert (done.returncode, done.stderr) == (0, "")

            say("one", "two")
            for tail in tails:
                assert said(tail, 2) == ["one", "two"]
            net.cut("two")
            eventually(lambda: states(net, broker).get("two") == "lost", 10)
            say("three")
            net.join("two")
            for tail in tails:
                assert said(tail, 1) == ["three"]
            eventually(lambda: states(net, broker) == {"one": "ok", "two": "ok"}, 20)
            say("four")
            for tail in tails:
                assert said(tail, 1) == ["four"]
        finally:
            server.terminate()
            server.wait(10)
