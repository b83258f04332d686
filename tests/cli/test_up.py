"""`up` and `down` with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest

from parlour.broker import Broker, BrokerSettings
from parlour.monitor.feed import ask_fleet
from support.pages import page
from support.ports import free_ports
from support.up import at, children, detached, finish, first_line, listening, nodes_at, ready, run, start
from support.waiting import eventually

SLOW = """
import sys, time
if "parlour.cli.leash" in sys.orig_argv:
    open({mark!r}, "w").close()
    time.sleep(60)
"""
"""A module that stops a child of `up` at the start of its interpreter."""


def test_up_runs_until_ctrl_c(broker: str) -> None:
    """In the foreground the cluster runs until Ctrl-C, and leaves no process."""
    process = start("up", "--nodes", "3")
    assert first_line(process) == ready(broker, [10, 11, 12])
    assert nodes_at(broker) == ["n1", "n2", "n3"]
    assert len(children(process)) == 4
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, f"stopped: broker {broker}, nodes n1 n2 n3\n", "")
    assert not listening(broker)


def test_parts_end_with_up(broker: str) -> None:
    """If `up` itself is killed, its broker and nodes end too."""
    process = start("up", "--nodes", "1")
    assert first_line(process).startswith("ready")
    assert listening(broker)
    process.kill()
    finish(process)
    eventually(lambda: not listening(broker))


def test_the_death_of_a_part(broker: str) -> None:
    """`up` prints a line when a part dies and keeps the others; when all parts have died it fails."""
    process = start("up")
    assert first_line(process).startswith("ready")
    first, *others = children(process)
    *rest, last = others
    os.kill(last, signal.SIGKILL)
    assert process.stderr is not None
    assert process.stderr.readline() == "parlour: node n2 ended with status -9: its output is above\n"
    eventually(lambda: nodes_at(broker) == ["n1"])
    assert process.poll() is None
    for pid in (first, *rest):
        os.kill(pid, signal.SIGKILL)
    status, _, err = finish(process)
    assert status == 1
    assert err.splitlines()[-1] == "parlour: all parts of the cluster have ended: start it again with `parlour up`"


def test_up_runs_on_with_a_full_disk(broker: str) -> None:
    """A `ready` line that cannot be written does not stop the cluster."""
    command = [sys.executable, "-m", "parlour.cli", "up", "--nodes", "1"]
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True)
    eventually(lambda: nodes_at(broker) == ["n1"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert finish(process)[::2] == (0, "")


def test_the_log_format_of_the_parts(broker: str) -> None:
    """In the foreground each part logs to standard error, in the format and from the level that the user gives."""
    process = start("up", "--nodes", "1", "--log-format", "json", "--log-level", "info")
    assert first_line(process).startswith("ready")
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 0
    said = [json.loads(line) for line in err.splitlines()]
    assert {"broker", "node n1"} == {event["part"] for event in said}
    assert [event["text"].split(" ")[0] for event in said if event["part"] == "node n1"] == [
        "enrolled",
        "started",
        "stopping:",
    ]


def test_each_part_serves_metrics(broker: str) -> None:
    """The broker serves its metrics at the port that is given, the nodes at the next ones."""
    base = free_ports()
    assert run("up", "-d", "--nodes", "2", "--metrics", f"127.0.0.1:{base}")[0] == 0
    assert "parlour_broker_nodes" in page(f"127.0.0.1:{base}", "/metrics")[1]
    for number in (1, 2):
        text = page(f"127.0.0.1:{base + number}", "/metrics")[1]
        assert f'node="n{number}"' in text


def test_a_detached_part_logs_to_a_file(broker: str) -> None:
    """The log is in the state folder; its lines are not in the output as well."""
    assert run("up", "-d", "--nodes", "1")[0] == 0
    folder = Path(os.environ["XDG_STATE_HOME"]) / "parlour" / broker.replace(":", "-")
    assert run("down")[0] == 0
    for part in ("broker", "n1"):
        assert " started at " in (folder / f"{part}.log").read_text()
        assert " started at " not in (folder / f"{part}.out").read_text()
    assert "node n1 joined the fleet" in (folder / "broker.log").read_text()
    assert "node n1 left the fleet" in (folder / "broker.log").read_text()


def test_a_detached_cluster_runs_until_down(broker: str) -> None:
    """A detached cluster outlives `up` and is not started twice; `down` leaves no process."""
    assert run("up", "-d") == (0, ready(broker, [10, 11]), "")
    assert nodes_at(broker) == ["n1", "n2"]
    assert run("up", "-d") == (0, ready(broker, [10, 11], " (already running)"), "")
    status, _, err = run("up")
    assert status == 1
    assert err.startswith(f"parlour: the broker, node n1 and node n2 of `parlour up -d` run at {broker} already")
    assert run("down") == (0, f"stopped: broker {broker}, nodes n1 n2\n", "")
    assert not listening(broker)


def test_down_without_a_cluster(broker: str) -> None:
    """`down` fails and says that nothing runs, also if a state file with dead processes is left."""
    state = Path(os.environ["XDG_STATE_HOME"]) / "parlour" / broker.replace(":", "-") / "cluster.json"
    for _ in range(2):
        status, out, err = run("down")
        assert (status, out) == (1, "")
        assert re.fullmatch(r"parlour: there is nothing to stop: .*\n", err)
        # The second time the state file has the id of this test with the start time of another process.
        part = {"name": "n1", "pid": os.getpid(), "started": "1", "output": None}
        state.write_text(json.dumps({"broker": broker, "log": None, "parts": [part]}))
    assert state.exists()


def test_two_ups_at_once_start_one_cluster(broker: str) -> None:
    """The second `up` finds the cluster of the first."""
    outcomes = sorted(finish(process) for process in [start("up", "-d", "--nodes", "1") for _ in range(2)])
    assert outcomes == [(0, ready(broker, [10], note), "") for note in ("", " (already running)")]


@pytest.mark.parametrize("options", [[], ["--detach"]])
def test_the_broker_port_in_use(broker: str, options: list[str]) -> None:
    """If one of the broker's ports is in use, one line says so, and nothing is left running."""
    host, _, port = broker.rpartition(":")
    with socket.create_server((host, int(port))):
        status, out, err = run("up", *options)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"parlour: {broker} is in use by a program that does not answer as a broker: .*\n", err)
    with socket.create_server((host, int(port) + 1)):
        status, out, err = run("up", *options)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"parlour: .*port {int(port) + 1} of {host} is in use.*\n", err)
    assert not listening(broker)


def test_a_broker_without_nodes(broker: str) -> None:
    """`up` and `down` leave a broker alone that was started by hand."""
    service = Broker(BrokerSettings(bind=broker))
    service.start()
    try:
        for options in ([], ["-d"]):
            status, _, err = run("up", *options)
            assert status == 1
            assert err.startswith(
                f"parlour: a broker without nodes that `parlour up -d` did not start runs at {broker}"
            )
        status, _, err = run("down")
        assert status == 1
        assert f"`parlour up --detach` did not start the program at {broker}" in err
    finally:
        service.stop()


def test_a_node_that_cannot_start(broker: str) -> None:
    """`up` prints the node's error and stops the broker that it has started."""
    status, out, err = run("up", "-d", "--log", "carrier-pigeon://loft")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"parlour: node n[12] did not start: .*carrier-pigeon.*\n", err)
    assert not listening(broker)
    assert run("down")[0] == 1


def test_a_log_in_memory_is_for_one_node(broker: str) -> None:
    """`up` refuses two nodes with a log in memory, because the broker would refuse the second."""
    status, out, err = run("up", "-d", "--log", "memory://")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"parlour: nodes cannot share a log in memory: .* --nodes 1.*\n", err)
    assert not listening(broker)
    assert run("up", "-d", "--log", "memory://", "--nodes", "1")[0] == 0


def test_a_data_folder_that_cannot_be_made(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the folder of the default log cannot be made, one line names it and the option for another log."""
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null")
    status, out, err = run("up", "-d", "--nodes", "1")
    assert (status, out) == (1, "")
    assert err.startswith(
        "parlour: cannot make the folder /dev/null/parlour (Not a directory): make it yours, or give --log"
    )
    assert not listening(broker)


def test_dead_parts_are_started_again(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up -d` starts the parts that have died (a node, the broker, all), names them, and leaves the others alone."""
    assert run("up", "-d", "--nodes", "3") == (0, ready(broker, [10, 11, 12]), "")
    first = detached(broker)
    os.kill(first["n1"], signal.SIGKILL)  # the broker notices after three seconds
    assert run("up", "-d") == (0, ready(broker, [10, 11, 12], " (started node n1)"), "")
    second = detached(broker)
    assert {name for name in first if first[name] != second[name]} == {"n1"}
    os.kill(second["broker"], signal.SIGKILL)
    eventually(lambda: not listening(broker))
    status, _, err = run("status")
    assert status == 1
    assert f"start one with `parlour up -d --broker {broker}`" in err
    line = ready(broker, [10, 11, 12], " (started the broker)")
    assert run("up", "-d", "--broker", broker) == (0, line, "")
    for pid in detached(broker).values():
        os.kill(pid, signal.SIGKILL)
    line = ready(broker, [10, 11, 12], " (started the broker, node n1, node n2 and node n3)")
    assert run("up", "-d") == (0, line, "")


def test_nodes_are_added(broker: str) -> None:
    """`up -d --nodes` adds the missing nodes; if more nodes run, one line tells how to stop one."""
    assert run("up", "-d", "--nodes", "1")[0] == 0
    line = ready(broker, [10, 11, 12], " (started node n2 and node n3)")
    assert run("up", "-d", "--nodes", "3") == (0, line, "")
    status, _, err = run("up", "-d", "--nodes", "2")
    assert status == 1
    assert err.startswith(f"parlour: node n3 runs at {broker} already, more than --nodes 2 allows: stop a node")
    assert f"`parlour drain n3 --broker {broker}`" in err
    assert run("drain", "n3")[0] == 0
    assert run("up", "-d", "--nodes", "2") == (0, ready(broker, [10, 11], " (already running)"), "")


def test_options_that_differ_are_refused(broker: str, tmp_path: Path) -> None:
    """`up -d` refuses options that differ from those of the cluster that runs, and accepts the same ones."""
    log = f"sqlite://{tmp_path}/one.sqlite"
    assert run("up", "-d", "--nodes", "1", "--log", log, "--retain", "30d")[0] == 0
    others = {
        "--log": f"sqlite://{tmp_path}/two.sqlite",
        "--retain": "12h",
        "--log-format": "json",
        "--listen": at(broker, 15),
    }
    for option, value in others.items():
        status, out, err = run("up", "-d", option, value)
        assert (status, out) == (1, "")
        assert err.startswith(f"parlour: the cluster at {broker} runs with another {option}: ")
    assert run("up", "-d", "--log", log, "--retain", "30d")[0] == 0
    os.kill(detached(broker)["n1"], signal.SIGKILL)
    assert run("up", "-d")[0] == 0  # with that log, or the broker would refuse it
    assert nodes_at(broker) == ["n1"]


def test_a_part_that_hangs(broker: str) -> None:
    """If the cluster's broker runs but does not answer, one line names its process."""
    assert run("up", "-d", "--nodes", "1")[0] == 0
    pid = detached(broker)["broker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        status, _, err = run("up", "-d")
        assert status == 1
        assert err.startswith(f"parlour: the broker runs as process {pid}, but does not answer: `kill -9 {pid}`")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert run("up", "-d") == (0, ready(broker, [10], " (started the broker)"), "")


def test_down_names_what_it_stops(broker: str) -> None:
    """`down` tells the parts that it stops apart from those that had died before."""
    assert run("up", "-d")[0] == 0
    for name in ("broker", "n2"):
        os.kill(detached(broker)[name], signal.SIGKILL)
    eventually(lambda: not listening(broker))
    assert run("down") == (0, "stopped: nodes n1 (the broker and node n2 had ended before)\n", "")


def test_a_broker_at_another_machine(broker: str) -> None:
    """One line says that the address is not of this machine, or that no such host exists."""
    for options in ((), ("-d",)):
        status, out, err = run("up", *options, "--broker", "192.0.2.77:6000")
        assert (status, out) == (1, "")
        assert err.startswith("parlour: 192.0.2.77 is not an address of this machine: give one that is")
        status, out, err = run("up", *options, "--broker", "no-such-host.invalid:6000")
        assert (status, out) == (1, "")
        assert err.startswith("parlour: there is no host 'no-such-host.invalid' to listen at")
    assert not listening(broker)


def test_a_cluster_on_all_addresses(broker: str) -> None:
    """Nodes that listen at 0.0.0.0 tell an address that other machines can reach."""
    everywhere = f"0.0.0.0:{broker.rpartition(':')[2]}"
    status, out, err = run("up", "-d", "--nodes", "1", "--broker", everywhere)
    try:
        if status:
            assert "say --advertise HOST:PORT" in err  # this machine has no route to others
            return
        (state,) = ask_fleet([broker])[1].nodes
        assert out == f"ready: broker {everywhere}, n1 at {state.report.address}\n"
        assert state.report.address.endswith(at(broker, 10).removeprefix("127.0.0.1"))
        assert not state.report.address.startswith(("127.", "0."))
        assert not state.report.relay.startswith(("127.", "0."))
    finally:
        assert run("down")[0] == (1 if status else 0)  # at 127.0.0.1, as the fixture's broker is


def test_the_state_is_private(broker: str) -> None:
    """Only the user can read the state folder and its files, also those of an older parlour."""
    folder = Path(os.environ["XDG_STATE_HOME"]) / "parlour" / broker.replace(":", "-")
    folder.mkdir(parents=True, mode=0o755)
    (folder / "n1.out").touch(0o644)
    assert run("up", "-d", "--nodes", "1")[0] == 0
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}


def test_down_after_a_drain(broker: str) -> None:
    """`down` stops the other nodes and says which node had ended before."""
    assert run("up", "-d", "--nodes", "2")[0] == 0
    assert run("drain", "n1") == (0, "n1 drained: 0 clients moved\n", "")
    assert run("down") == (0, f"stopped: broker {broker}, nodes n2 (node n1 had ended before)\n", "")


def test_ctrl_c_during_the_start(broker: str) -> None:
    """Interrupted before it is ready, `up --detach` stops what it has started."""
    process = start("up", "-d")
    eventually(lambda: listening(broker))
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    if status == 130:
        assert (out, err.strip()) == ("", "")
        assert not listening(broker)
        assert run("down")[0] == 1
    else:
        # It was ready just then.
        assert (status, run("down")[0]) == (0, 0)


def test_ctrl_c_while_a_child_begins(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A child that does not handle signals yet is stopped without a traceback."""
    mark = tmp_path / "begun"
    (tmp_path / "sitecustomize.py").write_text(SLOW.format(mark=str(mark)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    process = start("up")
    eventually(mark.exists)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, f"stopped: broker {broker}, nodes n1 n2\n", "")


def test_the_log_of_an_older_parlour(broker: str) -> None:
    """A node of an older cluster, whose default log was one file for all brokers, goes on with that file."""
    common = Path(os.environ["XDG_DATA_HOME"]) / "parlour" / "rooms.sqlite"
    common.parent.mkdir(parents=True)
    assert run("up", "-d", "--nodes", "2", "--log", f"sqlite://{common}")[0] == 0
    path = Path(os.environ["XDG_STATE_HOME"]) / "parlour" / broker.replace(":", "-") / "cluster.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({"broker": broker, "log": None, "parts": state["parts"]}))
    os.kill(detached(broker)["n2"], signal.SIGKILL)
    assert run("up", "-d") == (0, ready(broker, [10, 11], " (started node n2)"), "")


def test_who_may_come_in(broker: str, tmp_path: Path) -> None:
    """Each node gets the options that tell who may come in, also a node that is started later."""
    key = tmp_path / "key"
    key.write_text("a secret of the site that nobody can guess")
    options = ["--guests", "no", "--registration", "open", "--jwt-key", str(key), "--jwt-name-claim", "nick"]
    assert run("up", "-d", "--nodes", "1", *options)[0] == 0
    assert run("up", "-d", "--nodes", "2")[0] == 0
    token = jwt.encode({"nick": "bob", "exp": time.time() + 60}, key.read_text(), "HS256")
    for node, name in ((10, "ada"), (11, "bob")):
        assert first_answer(at(broker, node), name="eve")["code"] == "no_guests"
        hello = {"password": "correct horse", "invitation": "-"} if name == "ada" else {"jwt": token}
        assert first_answer(at(broker, node), name=name, **hello)["account"] == name
    assert "another --guests" in run("up", "-d", "--guests", "yes")[2]
    assert run("down")[0] == 0
    key.unlink()
    assert "does not exist" in run("up", "--jwt-key", str(key))[2]


def first_answer(address: str, **hello: str) -> dict[str, str]:
    """Return the first line with which a node answers a hello."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("r") as lines:
        connection.sendall(json.dumps({"type": "hello", **hello}).encode() + b"\n")
        answer: dict[str, str] = json.loads(lines.readline())
        return answer
