"""Two nodes that reach broker and log, but not each other: messages come late, none is missing, and both tell so."""

from __future__ import annotations

import pytest

from parlour.cli import main
from parlour.node.cluster import linkwatch
from parlour.wire.control import Peer
from support.cluster import RawClient, cluster, fleet
from support.ports import free_ports
from support.processes import processes
from support.waiting import MS, eventually

NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check more often, and alert sooner, than an operator would want."""
    monkeypatch.setattr(linkwatch, "INTERVAL", 50 * MS)
    monkeypatch.setattr(linkwatch, "ALERT_AFTER", 100 * MS)


@pytest.mark.parametrize("both", [pytest.param(True, id="both ways"), pytest.param(False, id="one way")])
def test_messages_of_an_unheard_peer_come_late(
    both: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """They are read from the log, in order; `status` and the node's log tell the pair of nodes and the port."""
    with cluster(0) as running:
        here = running.add_node("n1", relay_via=(("n2", NOWHERE),))
        there = running.add_node("n2", relay_via=(("n1", NOWHERE),) if both else ())
        eventually(running.acquainted)
        with RawClient(running.address, "bob", "n1") as bob, RawClient(running.address, "ada", "n2") as ada:
            for client in (bob, ada):
                client.join("lobby")
            for number in range(3):
                ada.say("lobby", f"one {number}", f"two {number}")
                assert bob.texts(2) == [f"one {number}", f"two {number}"]
            bob.say("lobby", "and back")
            ada.texts(6)
            assert ada.texts(1) == ["and back"]
        reports = {state.report.node: state.report for state in fleet(running.address).nodes}
        place = reports["n2"].relay
        eventually(lambda: fleet(running.address).nodes[0].report.troubles)
        eventually(lambda: bool(fleet(running.address).nodes[1].report.troubles) == both)
        assert main(["status", "--broker", running.address]) == 0
        said = capfd.readouterr()
        line = f"cannot hear n2: no connection to its relay at {place}"
        assert f"n1: {line}" in " ".join(said.out.split())
        assert caplog.text.count(line) == 1
        assert here.peers() == {"n2"}
        assert there.peers() == {"n1"}


def test_messages_of_a_peer_without_address_come_late() -> None:
    """The node cannot even try to connect: it reads the log and tells so, as for a failed connection."""
    with cluster(2) as running, RawClient(running.address, "bob", "n1") as bob:
        node = running.nodes[0]
        eventually(running.acquainted)
        peer = node._relay.peers()["n2"]
        node._relay.set_peers([Peer("n2", peer.instance, "nowhere")])
        bob.join("lobby")
        with RawClient(running.address, "ada", "n2") as ada:
            ada.join("lobby")
            ada.say("lobby", "one")
            assert bob.texts(1) == ["one"]
        eventually(lambda: "cannot hear n2: no connection to its relay at nowhere" in str(node._report(False).troubles))
        node._relay.set_peers([peer])
        eventually(lambda: [state.connected for state in node._relay.links().values()] == [True])


def test_peer_that_is_heard_again(caplog: pytest.LogCaptureFixture) -> None:
    """The node tells when it hears the peer again, here at another address."""
    with cluster(0) as running:
        node = running.add_node("n1", relay_via=(("n2", NOWHERE),))
        running.add_node("n2")
        caplog.set_level("INFO", "parlour")
        eventually(lambda: "cannot hear n2" in caplog.text)
        node._relay._via = {}
        peers = list(node._relay.peers().values())
        node._relay.set_peers([])
        eventually(lambda: not node._relay.links())
        node._relay.set_peers(peers)
        eventually(lambda: "hears n2 again" in caplog.text)


def test_relay_port_can_be_chosen() -> None:
    """A firewall needs a fixed port; a port in use is an error that says what to do."""
    port = free_ports()
    with processes() as started:
        started.broker(port)
        address, relay = f"127.0.0.1:{port}", f"127.0.0.1:{free_ports(1)}"
        started.start("node", "--name", "n1", "--broker", address, "--log", "memory://", "--relay", relay)
        assert fleet(address).nodes[0].report.relay == relay
        second = started.launch("node", "--name", "n2", "--broker", address, "--log", "memory://", "--relay", relay)
        _, errors = second.communicate(timeout=10_000 * MS)
        assert second.returncode == 1
        said = f"parlour: cannot open the relay on {relay} (Address already in use): choose another with --relay\n"
        assert errors == said
