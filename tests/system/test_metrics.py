"""What Prometheus and a supervisor see of a cluster of processes, and the dashboard for it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from parlour.client import Room, connect
from support.pages import figures, page
from support.ports import free_ports
from support.processes import Processes, processes
from support.source import ROOT
from support.waiting import eventually, poll

NAMES = re.compile(r"\b(?:parlour|process)_[a-z_]+\b")


@pytest.fixture
def running() -> Iterator[Processes]:
    """Yield a starter of processes."""
    with processes() as started:
        yield started


@pytest.fixture
def pages(running: Processes, tmp_path: Path) -> tuple[str, str, str]:
    """Start a broker and a node; return the broker's address and the address of each metrics page."""
    port = free_ports()
    broker, node = (f"127.0.0.1:{free_ports(1)}" for _ in range(2))
    running.start("broker", "--bind", f"127.0.0.1:{port}", "--metrics", broker)
    options = ("--name", "n1", "--broker", f"127.0.0.1:{port}", "--log", f"sqlite://{tmp_path}/rooms.sqlite")
    running.start("node", *options, "--metrics", node)
    return f"127.0.0.1:{port}", broker, node


def grown(node: str, before: dict[str, float]) -> dict[str, float]:
    """Return by how much the figures of a node have grown."""
    return {name: value - before[name] for name, value in figures(node).items() if name in before}


def reaches_both(node: str, room: Room) -> bool:
    """Return whether a post goes to both members live."""
    before = figures(node)
    room.say("are you there?")
    return poll(lambda: grown(node, before)["parlour_node_deliveries_total"] == 2)


def test_traffic_is_counted(pages: tuple[str, str, str]) -> None:
    """The node counts posts, deliveries and batches; the broker counts assignments."""
    address, broker, node = pages
    with connect(address, "ada") as ada, connect(address, "bob") as bob:
        room, other = ada.join("lobby"), bob.join("lobby")
        eventually(lambda: figures(node)["parlour_node_clients"] == 2)
        # Who has just joined may get the first posts from the ring, which no figure counts as deliveries.
        eventually(lambda: reaches_both(node, room))
        before = figures(node)
        for number in range(10):
            room.say(f"{number}")
        assert any(getattr(event, "text", "") == "9" for event in other.events(timeout=10))
        eventually(lambda: grown(node, before)["parlour_node_deliveries_total"] == 20)  # counted after they are sent
        found = grown(node, before)
        assert found["parlour_node_posts_total"] == found["parlour_node_encodings_total"] == 10
        assert found["parlour_node_wait_seconds_count"] == found["parlour_node_commit_seconds_count"] == 10
        found = figures(node)
        assert found["parlour_node_sent_bytes_total"] > found["parlour_node_received_bytes_total"] > 100
        assert found["parlour_node_rooms"] == 1
        fleet = figures(broker)
        assert fleet["parlour_broker_assignments_total{outcome=assigned}"] == 2
        assert fleet["parlour_broker_nodes{state=ok}"] == 1
        assert 0 <= fleet["parlour_broker_report_age_seconds{node=n1}"] < 3
    assert figures(node)["parlour_node_posts_total"] >= found["parlour_node_posts_total"], "it only grows"


def test_a_failing_log_shows(pages: tuple[str, str, str], tmp_path: Path) -> None:
    """A metric shows it, and the node is not ready; both end when the log is back."""
    address, _, node = pages
    with connect(address, "ada") as ada:
        room = ada.join("lobby")
        room.say("one")
        assert figures(node)["parlour_node_log_up"] == 1
        for file in tmp_path.glob("rooms.sqlite*"):
            file.rename(tmp_path / f"away-{file.name}")
        later = room.post("two", timeout=60)
        eventually(lambda: page(node, "/readyz")[0] == 503)
        assert page(node, "/readyz")[1].startswith("the room log fails: ")
        found = figures(node)
        assert found["parlour_node_log_up"] == 0
        assert found["parlour_node_log_errors_total"] > 0
        for file in tmp_path.glob("away-*"):
            file.rename(tmp_path / file.name.removeprefix("away-"))
        assert later.result(30).text == "two"
        eventually(lambda: page(node, "/readyz") == (200, "ok\n"))


def test_a_part_says_when_it_is_ready(running: Processes, pages: tuple[str, str, str]) -> None:
    """A draining node is not ready; a part whose metrics port is in use does not start."""
    _, broker, node = pages
    assert page(node, "/readyz") == (200, "ok\n")
    eventually(lambda: page(broker, "/readyz") == (200, "ok\n"), what="the broker knows its fleet")
    second = running.launch("broker", "--bind", "127.0.0.1:0", "--metrics", broker)
    _, errors = second.communicate(timeout=20)
    port = broker.rpartition(":")[2]
    line = (
        f"parlour: cannot serve metrics at {broker} (port {port} of 127.0.0.1 is in use): choose another with --metrics"
    )
    assert (second.returncode, errors) == (1, f"{line}\n")
    process = running._started[1]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "metrics at http" in errors


def test_documented_metrics_exist(pages: tuple[str, str, str]) -> None:
    """A broker or node serves every metric of the dashboard and of the operators' page."""
    _, broker, node = pages
    text = page(broker, "/metrics")[1] + page(node, "/metrics")[1]
    there = set(NAMES.findall(text))
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    shown = {name for panel in dashboard["panels"] for each in panel["targets"] for name in NAMES.findall(each["expr"])}
    assert len(shown) > 20
    assert shown - there == set()
    section = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("\n### Metrics\n")[2]
    told = set(NAMES.findall(section.partition("\n## ")[0]))
    assert told - there == set()
    ours = {name for name in there if name.startswith("parlour_") and f"# TYPE {name} " in text}
    assert ours - told == set(), "every metric of ours is told"
