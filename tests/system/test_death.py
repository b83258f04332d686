"""Real processes die, and the others go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from parlour.node import Node, NodeSettings
from parlour.node.cluster import brokers as fleet_module
from parlour.node.cluster import peerlink
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.control import Assign, Assigned
from parlour.wire.errors import UnavailableError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Bye, Message, Presence
from support.cluster import RawClient, fleet
from support.ports import free_ports
from support.processes import processes
from support.waiting import eventually


def alive(broker: str) -> set[str]:
    """Return the names of the nodes to which the broker would send clients."""
    try:
        return {node.report.node for node in fleet(broker).nodes if node.state not in ("lost", "gone")}
    except UnavailableError:
        return set()


def talk(speaker: RawClient, listeners: list[RawClient], text: str) -> None:
    """Post a text, and check that everybody gets it."""
    speaker.say("lobby", text)
    for listener in (speaker, *listeners):
        assert listener.get(Message).text == text


def test_a_broker_that_dies_and_comes_back(tmp_path: Path) -> None:
    """Conversations go on without the broker; a new one knows the fleet within two reports and admits clients."""
    port = free_ports()
    address = f"127.0.0.1:{port}"
    with processes() as started, ExitStack() as stack:
        broker = started.broker(port)
        for name in ("n1", "n2", "n3"):
            started.node(name, port, tmp_path / "log.sqlite")
        eventually(lambda: len(alive(address)) == 3)
        clients = [stack.enter_context(RawClient(address, name, node)) for name, node in (("ada", "n1"), ("bob", "n2"))]
        for client in clients:
            client.join("lobby")
        talk(clients[0], clients[1:], "before")
        started.kill(broker)
        talk(clients[1], clients[:1], "without a broker")
        with pytest.raises(UnavailableError):
            ask([address], Assign("cy", protocol=PROTOCOL), timeout=2)
        started.broker(port)
        eventually(lambda: len(alive(address)) == 3)
        cy = stack.enter_context(RawClient(address, "cy", "n3"))
        cy.join("lobby", history=2)
        assert cy.texts(2) == ["before", "without a broker"]
        talk(cy, clients, "and with one again")


@contextmanager
def survivor(broker: str, log: Path) -> Iterator[Node]:
    """Run the node n1 in this process, with short intervals."""
    quick = NodeSettings(report_interval=0.3, grace=0.2, presence_interval=0.01)
    node = Node(replace(quick, brokers=(broker,), name="n1", log=f"sqlite://{log}"))
    node.start()
    try:
        yield node
    finally:
        node.stop()


def test_a_node_that_is_killed(tmp_path: Path) -> None:
    """Its members leave every list when their time to return is over; the broker sends no more clients to it."""
    port = free_ports()
    address, log = f"127.0.0.1:{port}", tmp_path / "log.sqlite"
    with processes() as started, ExitStack() as stack:
        started.broker(port)
        stack.enter_context(survivor(address, log))
        victim = started.node("n2", port, log)
        eventually(lambda: len(alive(address)) == 2)
        bob = stack.enter_context(RawClient(address, "bob", "n1", timeout=30))
        bob.join("lobby")
        ada = stack.enter_context(RawClient(address, "ada", "n2"))
        ada.join("lobby")
        while "ada" not in bob.get(Presence).joined:
            pass
        talk(ada, [bob], "last words")
        started.kill(victim)
        # Its client asks at once, names the failed node, and gets the other node.
        _, reply = ask([address], Assign("ada", failed=["n2"], protocol=PROTOCOL))
        assert isinstance(reply, Assigned)
        assert reply.node == "n1"
        eventually(lambda: alive(address) == {"n1"})
        for number in range(10):
            _, reply = ask([address], Assign(f"newcomer-{number}", protocol=PROTOCOL))
            assert isinstance(reply, Assigned)
            assert reply.node == "n1"
        while "ada" not in bob.get(Presence).left:
            pass
        # A new node may have the same name at once: the dead node does not block it.
        started.node("n2", port, log)
        eventually(lambda: alive(address) == {"n1", "n2"})
        # Not under the name of ada, who could still come back to it.
        with RawClient(address, "eve", "n2") as eve:
            eve.join("lobby", history=1)
            assert eve.texts(1) == ["last words"]


def test_a_stop_is_quick_and_quiet(tmp_path: Path) -> None:
    """On SIGTERM a node tells its clients and exits with status 0, and so does a broker; neither prints an error."""
    port = free_ports()
    address = f"127.0.0.1:{port}"
    with processes() as started:
        broker, node = started.broker(port), started.node("n1", port, tmp_path / "log.sqlite")
        with RawClient(address, "ada", "n1") as ada:
            ada.join("lobby")
            status, said = started.stop(node)
            assert (status, [line for line in said.splitlines() if " info " not in line]) == (0, [])
            assert "stopping" in ada.get(Bye).reason
        eventually(lambda: not alive(address), 1.0, "the broker heard that the node stopped")
        with pytest.raises(RefusedError, match="no chat node is alive"):
            ask([address], Assign("bob", protocol=PROTOCOL))
        status, said = started.stop(broker)
        assert (status, [line for line in said.splitlines() if " error " in line]) == (0, [])


def test_a_node_that_dies_after_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker the relay shows which nodes are away: their members leave, and return if it was a pause."""
    monkeypatch.setattr(peerlink, "PING_INTERVAL", 50)
    monkeypatch.setattr(peerlink, "PEER_TIMEOUT", 300)
    monkeypatch.setattr(fleet_module, "ROSTER_LIFETIME", 0.5)
    port = free_ports()
    address, log = f"127.0.0.1:{port}", tmp_path / "log.sqlite"
    with processes() as started, ExitStack() as stack:
        broker = started.broker(port)
        node = stack.enter_context(survivor(address, log))
        victim = started.node("n2", port, log)
        eventually(lambda: node.peers() == {"n2"})
        bob = stack.enter_context(RawClient(address, "bob", "n1", timeout=20))
        bob.join("lobby")
        ada = stack.enter_context(RawClient(address, "ada", "n2"))
        ada.join("lobby")
        while "ada" not in bob.get(Presence).joined:
            pass
        started.kill(broker)
        victim.send_signal(signal.SIGSTOP)
        while "ada" not in bob.get(Presence).left:
            pass
        victim.send_signal(signal.SIGCONT)
        while "ada" not in bob.get(Presence).joined:
            pass
        talk(ada, [bob], "back again")
        started.kill(victim)
        while "ada" not in bob.get(Presence).left:
            pass


def test_ctrl_c_while_a_node_starts_is_quiet(tmp_path: Path) -> None:
    """Other processes may know the node and stop it before it handles signals."""
    path = tmp_path / "log.sqlite"
    arguments = ("node", "--broker", f"127.0.0.1:{free_ports()}", "--log", f"sqlite://{path}", "--log-level", "error")
    with processes() as started:
        node = started.launch(*arguments)
        eventually(path.with_name("log.sqlite-mark").exists)
        node.send_signal(signal.SIGINT)
        out, errors = node.communicate(timeout=20)
        assert (node.returncode, out, errors) == (130, "", "")
