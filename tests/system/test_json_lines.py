"""The promises of docs/protocol.md about JSON lines, checked by programs without parlour: nc, bash, Node.js."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parlour.wire.messages import Message, Presence
from support.cluster import Cluster, RawClient, cluster, fleet
from support.ports import free_ports
from support.processes import processes
from support.proxy import Proxy
from support.source import ROOT
from support.waiting import MS

ODD = 'a"d\\a'
"""A name that a program damages if it does not quote it like JSON."""


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Run a broker and two nodes."""
    with cluster(2) as started:
        yield started


def addresses(running: Cluster) -> list[str]:
    """Return the addresses of the nodes, in the order of their names."""
    return [state.report.address for state in sorted(fleet(running.address).nodes, key=lambda each: each.report.node)]


@contextlib.contextmanager
def bot(*command: str | Path) -> Iterator[None]:
    """Run an example until the block ends."""
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        process.kill()
        _, errors = process.communicate(timeout=10_000 * MS)
        print(errors)


def wait_for(client: RawClient, name: str) -> None:
    """Wait until a client of this name has joined the client's room."""
    while name not in client.get(Presence).joined:
        pass


@pytest.mark.skipif(shutil.which("nc") is None, reason="needs nc")
@pytest.mark.parametrize(
    ("page", "room", "text"), [("docs/protocol.md", "builds", "green"), ("README.md", "lobby", "all green")]
)
def test_the_line_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, room: str, text: str) -> None:
    """The command on the page posts a line of text in a cluster of `parlour up`; only the port differs."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (command,) = re.findall(
        r"^```sh\n(printf .*?)```", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    port = free_ports(12)
    with processes() as started:
        started.start("up", "--nodes", "2", "--broker", f"127.0.0.1:{port}")
        with RawClient(f"127.0.0.1:{port}", "ada", "n2") as ada:
            ada.join(room)
            done = subprocess.run(
                ["bash", "-c", command.replace(" 6010", f" {port + 10}")],
                capture_output=True,
                text=True,
                timeout=30_000 * MS,
                check=True,
            )
            said = ada.get(Message)
    assert (said.by, said.text) == ("ci", text)
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert types[:2] == ["welcome", "joined"]
    assert "error" not in types


def test_the_bot_in_shell(running: Cluster) -> None:
    """It throws a die for everybody who asks, and for nobody else, even with odd names."""
    host, _, port = addresses(running)[0].rpartition(":")
    with RawClient(running.address, ODD, "n2") as ada:
        ada.join(ODD)
        with bot("bash", ROOT / "examples" / "dicebot.sh", host, port, ODD):
            wait_for(ada, "dicebot")
            ada.say(ODD, '"text":"!dice"', "!dice", "!dice")
            texts = [said.text for said in [ada.get(Message) for _ in range(5)] if said.by == "dicebot"]
    assert len(texts) == 2
    assert all(re.fullmatch(re.escape(ODD) + " rolls [1-6]", text) for text in texts)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_bot_in_javascript(running: Cluster) -> None:
    """It replies to each line once, whatever its characters, also to a line posted while its connection was broken."""
    texts = ["one", "t\u2028w\u0085o", "thr\U0001f600e", '{"four"}\n']
    proxy = Proxy()
    proxy.target = addresses(running)[0]
    proxy.start()
    running.closing.callback(proxy.stop)
    with RawClient(running.address, ODD, "n2") as ada:
        ada.join(ODD)
        with bot("node", ROOT / "examples" / "echobot.js", *proxy.address.rsplit(":", 1), ODD):
            wait_for(ada, "echobot")
            for number, text in enumerate(texts):
                if number == 2:
                    proxy.cut_after(0)
                ada.say(ODD, f"!echo {text}")
                asked, replied = ada.get(Message), ada.get(Message)
                assert (replied.by, replied.text, replied.ref) == ("echobot", text, asked.offset)
    assert proxy.cuts == 1
