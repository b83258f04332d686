"""A cluster over several machines: each part on its own host, a room log in Redis, slow and broken links."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import hosts as hosts_module
from support import redis_server
from support.hosts import SLOWED, Hosts, hosts
from support.processes import Processes, processes, run
from support.waiting import eventually

pytestmark = pytest.mark.skipif(
    bool(hosts_module.MISSING or redis_server.MISSING), reason=hosts_module.MISSING or redis_server.MISSING
)


class Machines:
    """A broker, two nodes and a Redis, each on its own host; the clients are on the broker's host."""

    def __init__(self, net: Hosts, started: Processes) -> None:
        self.net = net
        self._started = started
        self.broker = f"{net.address['broker']}:6000"

    def start(self) -> None:
        """Start the broker and the nodes."""
        self._started.start("broker", "--bind", self.broker, on=self.net.on("broker"))
        log = f"redis://{self.net.address['redis']}:6379/0"
        for name in ("one", "two"):
            options = ["--name", name, "--listen", f"{self.net.address[name]}:7000", "--guests", "yes", "--log", log]
            self._started.start("node", "--broker", self.broker, *options, on=self.net.on(name))
        eventually(lambda: self.states() == {"one": "ok", "two": "ok"})

    def states(self) -> dict[str, str]:
        """Return the state of each node from `parlour status`."""
        done = run("status", "--json", "--broker", self.broker, on=self.net.on("broker"))
        return {node["name"]: node["state"] for node in json.loads(done.stdout)["nodes"]} if not done.returncode else {}

    def tail(self) -> subprocess.Popen[str]:
        """Watch the lobby; two calls in a row watch on different nodes."""
        options = ["--json", "--broker", self.broker, "--room", "lobby", "--history", "9"]
        return self._started.launch("tail", *options, on=self.net.on("broker"))

    def say(self, *texts: str) -> None:
        """Post texts to the lobby."""
        options = ["--broker", self.broker, "--name", "bot", "--room", "lobby"]
        done = run("send", *options, *texts, on=self.net.on("broker"))
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Run all four."""
    with hosts("broker", "one", "two", "redis") as net, processes() as started:
        options = ["--bind", net.address["redis"], "--protected-mode", "no", "--save", "", "--dir", str(tmp_path)]
        server = subprocess.Popen([*net.on("redis"), "redis-server", *options], stdout=subprocess.DEVNULL)
        try:
            ping = [*net.on("redis"), "redis-cli", "-h", net.address["redis"], "ping"]
            eventually(lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n")
            made = Machines(net, started)
            made.start()
            yield made
        finally:
            server.terminate()
            server.wait(10)


def next_texts(tail: subprocess.Popen[str], count: int) -> list[str]:
    """Return the texts of the next messages from `parlour tail --json`."""
    assert tail.stdout is not None
    return [json.loads(tail.stdout.readline())["text"] for _ in range(count)]


def test_machines_share_rooms(machines: Machines) -> None:
    """Clients of two machines talk; one machine is cut off, and when it is back its clients have missed nothing."""
    tails = [machines.tail() for _ in range(2)]
    machines.say("one", "two")
    for tail in tails:
        assert next_texts(tail, 2) == ["one", "two"]
    machines.net.cut("two")
    eventually(lambda: machines.states().get("two") == "lost")
    machines.say("three")
    machines.net.join("two")
    for tail in tails:
        assert next_texts(tail, 1) == ["three"]
    eventually(lambda: machines.states() == {"one": "ok", "two": "ok"})
    machines.say("four")
    for tail in tails:
        assert next_texts(tail, 1) == ["four"]


@pytest.mark.parametrize("how", SLOWED)
def test_a_bad_link_only_makes_a_room_slow(machines: Machines, how: str) -> None:
    """A node whose relay and log are behind such a link gives its members all messages in the one order."""
    tails = [machines.tail() for _ in range(2)]
    machines.say("first")
    for tail in tails:
        assert next_texts(tail, 1) == ["first"]
    refused = machines.net.slow("two", SLOWED[how])
    if refused:
        pytest.skip(f"this kernel has no such link ({refused}): {how.upper()} ON A LINK IS NOT TESTED")
    for batch in range(3):
        machines.say(*[f"{batch} {number} {'x' * 1000}" for number in range(30)])
    texts = [f"{batch} {number}" for batch in range(3) for number in range(30)]
    for tail in tails:
        assert [text.rpartition(" ")[0] for text in next_texts(tail, 90)] == texts
    assert machines.states() == {"one": "ok", "two": "ok"}
