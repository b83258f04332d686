"""The ports that `up` gives to its nodes, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from parlour.cli.up import ready_line
from parlour.monitor.feed import ask_fleet
from support.ports import free_ports
from support.up import at, detached, finish, listening, ready, run, start, taken
from support.waiting import eventually

DELAY = """
import os, sys, time
if "node" in sys.orig_argv and not os.path.exists({held!r}):
    open({wanted!r}, "w").close()
    while not os.path.exists({held!r}):
        time.sleep(0.01)
"""
"""A module that delays the start of a node until the test has taken the node's port."""


def test_status_tells_the_addresses(broker: str) -> None:
    """`ready`, `status` and `status --json` tell the same addresses, and a node listens at each."""
    told = run("up", "-d")[1]
    assert told == ready(broker, [10, 11])
    nodes = json.loads(run("status", "--json")[1])["nodes"]
    assert [node["address"] for node in nodes] == [at(broker, 10), at(broker, 11)]
    table = run("status")[1]
    for node in nodes:
        assert node["address"] in table
        assert listening(node["address"])


@pytest.mark.parametrize(("held", "steps"), [([10], [11, 12]), ([11], [10, 12]), ([10, 12], [11, 13])])
def test_a_port_in_use_is_skipped(broker: str, held: list[int], steps: list[int]) -> None:
    """The node takes the next free port."""
    with ExitStack() as stack:
        for each in held:
            stack.enter_context(taken(at(broker, each)))
        assert run("up", "-d") == (0, ready(broker, steps), "")


def test_listen_chooses_the_first(broker: str) -> None:
    """`--listen` gives host and port of the first node; the others take the next ports, also when added later."""
    port = int(at(broker, 5).rpartition(":")[2])
    nodes = [f"n{number} at localhost:{port + number - 1}" for number in (1, 2, 3)]
    status, out, err = run("up", "-d", "--listen", f"localhost:{port}")
    assert (status, out, err) == (0, f"ready: broker {broker}, {', '.join(nodes[:2])}\n", "")
    assert listening(at(broker, 5))
    out = run("up", "-d", "--nodes", "3")[1]
    assert out == f"ready: broker {broker}, {', '.join(nodes)} (started node n3)\n"


def test_port_0_means_any(broker: str) -> None:
    """The system chooses the port, and `up` tells which one."""
    status, out, err = run("up", "-d", "--nodes", "1", "--listen", "127.0.0.1:0")
    (state,) = ask_fleet([broker])[1].nodes
    assert (status, out, err) == (0, f"ready: broker {broker}, n1 at {state.report.address}\n", "")
    assert listening(state.report.address)


def test_a_node_keeps_its_port(broker: str) -> None:
    """A node that is started again has the port of before, unless another program has taken that."""
    with taken(at(broker, 10)):
        assert run("up", "-d")[1] == ready(broker, [11, 12])
    os.kill(detached(broker)["n1"], signal.SIGKILL)
    assert run("up", "-d", "--nodes", "3")[1] == ready(broker, [11, 12, 13], " (started node n1 and node n3)")
    for pid in detached(broker).values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not listening(at(broker, 12)))
    with taken(at(broker, 12)):
        note = " (started the broker, node n1, node n2 and node n3)"
        assert run("up", "-d")[1] == ready(broker, [11, 14, 13], note)


def test_listen_moves_a_dead_cluster(broker: str) -> None:
    """A cluster that died is started again at the ports of a new `--listen`."""
    assert run("up", "-d", "--nodes", "1")[0] == 0
    for pid in detached(broker).values():
        os.kill(pid, signal.SIGKILL)
    assert run("up", "-d", "--listen", at(broker, 5))[1] == ready(broker, [5], " (started the broker and node n1)")


def test_metrics_ports_are_skipped(broker: str) -> None:
    """No node gets a port where a part will serve metrics, even before it does."""
    assert run("up", "-d", "--metrics", at(broker, 10)) == (0, ready(broker, [13, 14]), "")


def test_a_port_lost_while_a_node_starts(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If another program takes the port while the node starts, the node gets the next one."""
    wanted, held = tmp_path / "wanted", tmp_path / "held"
    (tmp_path / "sitecustomize.py").write_text(DELAY.format(wanted=str(wanted), held=str(held)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    process = start("up", "-d", "--nodes", "2")
    eventually(wanted.exists)
    with taken(at(broker, 10)):
        held.touch()
        assert finish(process) == (0, ready(broker, [12, 11]), "")


def test_no_free_port(broker: str) -> None:
    """One line names the ports in use and the option; nothing is left running."""
    with taken("127.0.0.1:65535"):
        status, out, err = run("up", "--nodes", "1", "--listen", "127.0.0.1:65535")
    assert (status, out) == (1, "")
    assert err == "parlour: ports 65535 to 65535 of 127.0.0.1 are all in use: choose others with --listen HOST:PORT\n"
    assert not listening(broker)


def test_ports_end_at_65535(broker: str) -> None:
    """If there are fewer ports than nodes, one line says so before any part is started."""
    text = "there is no port above 65535 for node n2: choose lower ones with --listen HOST:PORT"
    assert run("up", "--listen", "127.0.0.1:65535") == (2, "", f"parlour: {text}\n")
    assert run("up", "-d", "--broker", "127.0.0.1:65525") == (2, "", f"parlour: {text}\n")


def test_listen_at_another_machine(broker: str) -> None:
    """One line says that the nodes cannot listen there; nothing is left running."""
    status, out, err = run("up", "--listen", "192.0.2.77:7000")
    assert (status, out) == (1, "")
    assert err.startswith("parlour: 192.0.2.77 is not an address of this machine: give one that is")
    assert "--listen" in err
    assert not listening(broker)


def test_ipv6_hosts(monkeypatch: pytest.MonkeyPatch, broker: str) -> None:
    """The nodes listen at the IPv6 host of the broker, written in brackets."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6: IPV6 HOSTS ARE NOT TESTED")
    broker = f"[::1]:{free_ports(16)}"
    monkeypatch.setenv("PARLOUR_BROKER", broker)
    assert run("up", "-d") == (0, ready(broker, [10, 11]), "")
    assert run("down")[0] == 0


def test_the_line_of_many_nodes() -> None:
    """The line lists a few addresses, and says how many more there are and where to see them."""
    nodes = {f"n{number}": f"127.0.0.1:{6009 + number}" for number in range(1, 65)}
    line = ready_line("127.0.0.1:6000", nodes)
    assert line.endswith(", n8 at 127.0.0.1:6017, and 56 more: see `parlour status`")
