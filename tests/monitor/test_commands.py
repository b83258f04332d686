"""The commands `status`, `monitor` and `why`, on a real broker."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest
from rich.console import Console

from parlour.broker import Broker, BrokerSettings
from parlour.cli import main
from parlour.monitor.render import status_table
from parlour.monitor.table import Row, Snapshot
from parlour.runtime.broker_rpc import RefusedError, ask
from parlour.wire.control import Assign
from support.processes import unread
from support.reports import Publisher, make_report, publisher
from support.waiting import eventually


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a broker, and set PARLOUR_BROKER to its address."""
    service = Broker(BrokerSettings(bind="127.0.0.1:0"))
    service.start()
    monkeypatch.setenv("PARLOUR_BROKER", service.address)
    yield service.address
    service.stop()


@pytest.fixture
def nodes(broker: str) -> Iterator[Publisher]:
    """Put two nodes into the fleet, one with three times the clients, that are never late during a test."""
    busy = make_report("n1", clients=10, messages_out=12_345.0, wait_p99=2.5, cpu=0.5, memory=64 << 20, interval=30.0)
    with publisher(broker) as publishing:
        publishing.enroll(busy)
        publishing.enroll(make_report("n2", clients=30, address="127.0.0.1:7002", interval=30.0))
        yield publishing


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command and return the JSON object that it printed."""
    assert main(arguments) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


@pytest.mark.usefixtures("nodes")
def test_status(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` lists the nodes with address, clients and state."""
    assert main(["status"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^n1 +127\.0\.0\.1:7000 +10/100 +0 +\d\.\d s ok *$", printed, re.M)
    assert f"broker {broker}" in printed
    assert "2 nodes, 40 of 200 clients, imbalance 1.50" in printed


@pytest.mark.usefixtures("nodes")
def test_status_as_json(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`status --json` prints one object."""
    fleet = printed_json(capsys, "status", "--json")
    assert (fleet["broker"], fleet["clients"], fleet["assigned"], fleet["refused"]) == (broker, 40, 0, 0)
    assert [(node["name"], node["address"], node["clients"], node["state"]) for node in fleet["nodes"]] == [
        ("n1", "127.0.0.1:7000", 10, "ok"),
        ("n2", "127.0.0.1:7002", 30, "ok"),
    ]
    assert fleet["uptime"] >= 0


@pytest.mark.parametrize("address", ["192.168.100.200:65535", "[2001:db8:1234:5678:9abc:def0:1234:5678]:6010"])
def test_status_fits_a_narrow_terminal(address: str) -> None:
    """In 80 columns a long address continues in the next line, and no column is cut."""
    report = make_report("n1", address=address, clients=9999, capacity=10_000, rooms=1234)
    printed = io.StringIO()
    table = status_table("127.0.0.1:6000", 10.0, 0, 0, Snapshot((Row(report, 123.4, "draining"),)))
    Console(width=80, file=printed).print(table)
    row, *others = printed.getvalue().splitlines()[2:-1]
    assert row.rstrip().endswith("9999/10000  1234 123 s draining")
    assert address == row.split()[1] + "".join(others).strip()


@pytest.mark.usefixtures("nodes")
def test_monitor_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`monitor --once` prints the load of every node."""
    assert main(["monitor", "--once"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^n1 +10/100 +0 +0 +12\.3k +0 +2\.5 +0 +50 +64 +\d\.\d s ok *$", printed, re.M)
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.usefixtures("nodes")
def test_monitor_once_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`monitor --once --json` prints one object with all rates and totals."""
    load = printed_json(capsys, "monitor", "--once", "--json")
    assert (load["clients"], load["imbalance"]) == (40, 1.5)
    assert {"name", "address", "clients", "capacity", "rooms", "age", "state", "wait_p50"} <= set(load["nodes"][0])


def test_a_rate_that_is_no_number(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The broker refuses a report with NaN, so that the output stays valid JSON."""
    with publisher(broker) as publishing:
        with pytest.raises(RefusedError, match="wait_p50"):
            publishing.enroll(make_report("n1", wait_p50=float("nan")))
        publishing.enroll(make_report("n2"))
    nodes = printed_json(capsys, "monitor", "--once", "--json")["nodes"]
    assert [node["name"] for node in nodes] == ["n2"]


def test_control_characters_in_a_report(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a report are replaced, and markup is printed as it is."""
    with publisher(broker) as publishing:
        publishing.enroll(make_report("[red]n1", address="\x1b]0;gotcha\x07"))
    assert main(["status"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[red]n1" in printed


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "parlour.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )


def _stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    return out, err


def _read_until(stream: IO[str] | None, pattern: str) -> str:
    assert stream is not None
    for line in stream:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"the output ended without {pattern!r}")


def test_monitor_prints_a_line_per_report(nodes: Publisher, broker: str) -> None:
    """`monitor --json` prints every field of each report, and ends on Ctrl-C without an error."""
    process = _start("monitor", "--json")
    assert process.stdout is not None
    report = make_report("n1", clients=11)
    os.set_blocking(process.stdout.fileno(), False)

    def line() -> str:
        # A report published before the monitor has subscribed is lost.
        nodes.publish(report)
        return process.stdout.readline() if process.stdout else ""

    value = json.loads(eventually(line))
    assert value.pop("received") > 1_600_000_000_000
    assert value == {field: getattr(report, field) for field in report.__struct_fields__}
    os.set_blocking(process.stdout.fileno(), True)
    _, err = _stop(process)
    assert (process.returncode, err.strip()) == (0, "")


@pytest.mark.usefixtures("nodes")
def test_monitor_watches_until_ctrl_c() -> None:
    """The table is printed at once, without a report, and Ctrl-C ends the command without an error."""
    process = _start("monitor")
    _read_until(process.stdout, r"^n2 +30/100 .* ok")
    _, err = _stop(process)
    assert (process.returncode, err.strip()) == (0, "")


@pytest.mark.usefixtures("nodes")
def test_why_with_another_encoding(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that the encoding of the output does not have is printed as an escape."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ask([broker], Assign(name="zoë", room="lobby"))
    done = subprocess.run([sys.executable, "-m", "parlour.cli", "why", "zoë"], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"zo\\xeb" in done.stdout


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("arguments", [["monitor"], ["monitor", "--once"], ["status", "--json"]], ids=" ".join)
def test_a_reader_that_has_left(arguments: list[str]) -> None:
    """If the reader has closed the pipe, as `head` does, the command ends with status 0 and prints no error."""
    command = [sys.executable, "-m", "parlour.cli", *arguments]
    with unread() as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("nodes")
def test_why(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`why NAME` prints the decision for a client and the nodes that the broker chose from."""
    ask([broker], Assign(name="ada", room="lobby"))
    assert main(["why", "ada"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"ada, for room lobby, went to n1: .*lowest load", printed)
    assert re.search(r"^n1 +0\.1 +10/100 +0 +\d\.\d s", printed, re.M)
    assert re.search(r"^n2 +0\.3 +30/100 +0 +\d\.\d s", printed, re.M)


@pytest.mark.usefixtures("nodes")
def test_why_as_json(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`why ROOM --json` prints the decisions for a room, newest first."""
    ask([broker], Assign(name="ada", room="lobby"))
    ask([broker], Assign(name="bob", room="lobby"))
    value = printed_json(capsys, "why", "lobby", "--json")
    assert value["subject"] == "lobby"
    assert [decision["name"] for decision in value["decisions"]] == ["bob", "ada"]
    assert value["decisions"][0]["candidates"][0]["pending"] == 1


@pytest.mark.usefixtures("broker")
def test_why_with_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says that the broker does not know the name."""
    assert main(["why", "nobody"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("parlour: ")
    assert "'nobody'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("subject", ["", "\udcff"], ids=ascii)
def test_why_with_an_impossible_name(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A text that cannot be a name or a room is wrong usage."""
    assert main(["why", subject]) == 2
    assert re.fullmatch(r"parlour: Invalid value for 'NAME\|ROOM': a name .*\n", capsys.readouterr().err)


def test_no_broker() -> None:
    """Without a broker each command fails and prints one line that says what to do."""
    commands = [["status"], ["monitor"], ["monitor", "--once"], ["why", "ada"]]
    # They run at the same time, because each asks until its deadline.
    for process in [_start(*command, "--broker", "127.0.0.1:1") for command in commands]:
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (1, "")
        assert err.startswith(
            "parlour: no broker answers at 127.0.0.1:1: start one with `parlour up -d --broker 127.0.0.1:1`"
        )
        assert err.count("\n") == 1
