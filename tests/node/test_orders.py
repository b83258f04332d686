"""Orders of operators reach everybody whom they are meant for, on all nodes, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parlour.cli import main
from parlour.client import DisconnectedError, NodeError, connect
from parlour.client.events import Disconnected, Reconnecting
from parlour.directory import orders as given
from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node import NodeSettings
from parlour.node.people import orders
from support.cluster import Cluster, cluster
from support.netcat import Netcat, netcat
from support.redis_server import MISSING, redis_server
from support.waiting import MS, eventually

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and wait long for answers."""
    monkeypatch.setattr(orders, "LOOK", 20 * MS)
    monkeypatch.setattr(given, "WAIT", 30_000 * MS)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name a log that commands can reach, too."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/rooms.sqlite"
        return
    if MISSING:
        pytest.skip(MISSING)
    with redis_server(tmp_path) as server:
        yield server.url


@pytest.fixture
def running(url: str) -> Iterator[Cluster]:
    """Two nodes, where somebody who was cut off keeps the name for a minute."""
    with cluster(2, NodeSettings(log=url, presence_interval=50 * MS, grace=60.0)) as running:
        yield running


@pytest.fixture
def parlour(url: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Give a way to run a command on the directory; it returns status and output."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*arguments, "--log", url])
        printed, errors = capsys.readouterr()
        return status, printed, errors

    return command


def enter(stack: ExitStack, running: Cluster, node: int, name: str, **fields: object) -> Netcat:
    """Let somebody in at a node."""
    nc = stack.enter_context(netcat(running.nodes[node]))
    nc.send({"type": "hello", "name": name, **fields})
    assert nc.read()["type"] == "welcome"
    return nc


def test_a_kick_ends_all_connections(running: Cluster, parlour: Command) -> None:
    """All devices of an account, on all nodes, are told why; others stay; the trail tells of it."""
    running.nodes[0].people.directory.accounts.add("ada", make_password("secret"))
    with ExitStack() as stack:
        devices = [enter(stack, running, node, "ada", password="secret") for node in (0, 1)]
        eve = enter(stack, running, 1, "eve")
        assert parlour("kick", "Ada", "--reason", "spam") == (0, "ended 2 connections of Ada\n", "")
        for ada in devices:
            told = ada.read()
            assert (told["code"], told["text"], told["fatal"]) == ("kicked", "kicked by an operator: spam", True)
            assert ada.read() == {}
        eve.send({"type": "ping"})
        assert eve.read()["type"] == "pong"
        assert enter(stack, running, 1, "ada", password="secret")
        assert parlour("kick", "eve")[1] == "ended 1 connection of eve\n"
        assert eve.read()["text"] == "kicked by an operator"
    trail = [json.loads(line) for line in parlour("audit", "--json")[1].splitlines()]
    assert [entry["data"] for entry in trail if entry["what"] == "kicked"] == [
        {"who": "Ada", "reason": "spam", "connections": 2},
        {"who": "eve", "reason": "", "connections": 1},
    ]


def test_the_library_does_not_come_back(running: Cluster, parlour: Command) -> None:
    """A chat that was kicked ends with the reason; its name is free at once, also for the same person."""
    with connect(running.address, "bob", timeout=30) as bob, connect(running.address, "eve") as eve:
        lobby, other = bob.join("lobby"), eve.join("lobby")
        eventually(lambda: other.count == 2)
        assert parlour("kick", "bob", "--reason", "enough")[0] == 0
        told = list(lobby.events(timeout=20))
        assert isinstance(told[-1], Disconnected)
        assert told[-1].reason.endswith("kicked by an operator: enough")
        assert not any(isinstance(event, Reconnecting) for event in told)
        with pytest.raises(DisconnectedError, match="kicked by an operator: enough"):
            bob.join("attic")
        eventually(lambda: other.members == ["eve"])
        eventually(lambda: running.nodes[0].people.directory.names.holder("bob") is None)
        with connect(running.address, "bob", timeout=30) as again:
            assert again.name == "bob"


def test_operators_give_orders_in_the_chat(running: Cluster, parlour: Command) -> None:
    """An account that is an operator of the cluster may kick and announce; others may not. The trail names it."""
    accounts = running.nodes[0].people.directory.accounts
    accounts.add("root", make_password("secret"), operator=True)
    accounts.add("ada", make_password("secret"))
    with ExitStack() as stack:
        eve = enter(stack, running, 0, "eve")
        root, ada = (
            stack.enter_context(connect(running.address, name, password="secret", timeout=30))
            for name in ("root", "ada")
        )
        for act in (lambda: ada.kick("eve"), lambda: ada.announce("hello")):
            with pytest.raises(NodeError) as refused:
                act()
            assert refused.value.code == "forbidden"
        root.announce("tea is ready")
        assert eve.read()["data"] == {"by": "root", "text": "tea is ready"}
        assert root.kick("eve", "enough") == 1
        assert eve.read()["text"] == "kicked by an operator: enough"
        eventually(lambda: "eve" not in {person.name for _, person in running.nodes[0].clients.people()})
        with pytest.raises(NodeError, match="nobody is connected as eve"):
            root.kick("eve")
    trail = [json.loads(line) for line in parlour("audit", "--json")[1].splitlines()]
    assert [(entry["what"], entry["by"]) for entry in trail] == [("announced", "root"), ("kicked", "root")]


def test_somebody_who_is_not_there(running: Cluster, parlour: Command) -> None:
    """Nobody can be kicked who is not on; names and reasons are checked before."""
    assert parlour("kick", "bob") == (1, "", "parlour: nobody is connected as bob: no connection was ended\n")
    assert parlour("kick", "a b")[0] == 2
    assert parlour("kick", "bob", "--reason", "two\nlines")[0] == 2


def test_an_announcement_reaches_everybody(running: Cluster, parlour: Command) -> None:
    """All nodes tell it once to each client that knows news; older clients get nothing that they do not know."""
    with ExitStack() as stack:
        new = [enter(stack, running, node, f"new{node}") for node in (0, 1)]
        old = enter(stack, running, 0, "old", protocol="1.2")
        library = stack.enter_context(connect(running.address, "bob", timeout=30))
        for text in ("tea at five", "no, at six"):
            assert parlour("say", "--all", text) == (0, "said to everybody\n", "")
            news = [*(nc.read() for nc in new)]
            assert [each["data"] for each in news] == [{"by": "", "text": text}] * 2
            assert {(each["type"], each["what"]) for each in news} == {("news", "announcement")}
            assert next(library.news(20)).data["text"] == text
        old.send({"type": "ping"})
        assert old.read()["type"] == "pong"
    assert "text=tea at five" in parlour("audit")[1]


def test_an_announcement_needs_a_choice(running: Cluster, parlour: Command) -> None:
    """Nobody speaks to all by mistake, nor says nothing."""
    assert parlour("say", "hello")[0] == 2
    assert parlour("say", "--all", " ") == (2, "", "parlour: give a text to say\n")
    assert parlour("say", "--all", "x" * 1001)[0] == 2


def test_a_new_node_follows_no_old_order(running: Cluster, parlour: Command) -> None:
    """What was announced before it started is not said again there."""
    assert parlour("say", "--all", "before")[0] == 0
    running.add_node("n3")
    with ExitStack() as stack:
        late = enter(stack, running, 2, "late")
        assert parlour("say", "--all", "after")[0] == 0
        assert late.read()["data"]["text"] == "after"


def test_a_node_that_does_not_answer(running: Cluster, parlour: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others follow, and the operator is told that one is missing."""
    directory = running.nodes[0].people.directory
    directory.names.renew("ghost")
    with ExitStack() as stack:
        enter(stack, running, 0, "bob")
        monkeypatch.setattr(given, "WAIT", 5000 * MS)
        status, printed, errors = parlour("kick", "bob")
        assert (status, printed) == (0, "ended 1 connection of bob\n")
        assert "note: 1 node did not answer" in errors


def test_a_failing_directory_delays_an_order(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that cannot write its answer follows the order once, and answers later."""
    node = running.nodes[0]
    failed: list[object] = []

    def fail(*arguments: object) -> None:
        failed.append(arguments)
        raise DirectoryError("away")

    with ExitStack() as stack:
        bob = enter(stack, running, 0, "bob")
        with monkeypatch.context() as away:
            away.setattr(node.people.directory.orders, "answer", fail)
            away.setattr(given, "WAIT", 0.0)
            assert running.nodes[1].people.directory.orders.announce("root", "hello") >= 1
            assert bob.read()["data"]["text"] == "hello"
            eventually(lambda: len(failed) > 5)
        assert running.nodes[1].people.directory.orders.announce("root", "again") == 0
        assert bob.read()["data"]["text"] == "again"


def test_all_rooms_are_listed(running: Cluster, parlour: Command) -> None:
    """Secret and empty rooms, too, with those who are there on all nodes; private conversations are not."""
    accounts = running.nodes[0].people.directory.accounts
    accounts.add("ada", make_password("secret"))
    with ExitStack() as stack:
        guests = stack.enter_context(running.clients("guest1", "guest2", "guest3"))
        ada = stack.enter_context(connect(running.address, "ada", password="secret", timeout=30))
        attic, lobby, cellar = ada.join("attic"), ada.join("lobby"), ada.join("cellar")
        eventually(lambda: all(room.state()["owner"] == "ada" for room in (attic, lobby, cellar)))
        attic.set("secret", True)
        lobby.set_topic("tea 茶 at five")
        cellar.leave()
        ada.direct("guest1").say("psst")
        for guest in guests:
            guest.join("lobby")
        eventually(lambda: lobby.count == 4)
        listed = eventually(lambda: [*map(json.loads, parlour("rooms", "--json")[1].splitlines())])
        assert [each["name"] for each in listed] == ["attic", "cellar", "lobby"]
        assert listed[0] == {
            "name": "attic",
            "people": 1,
            "nodes": 1,
            "owner": "ada",
            "secret": True,
            "topic": "",
        }
        assert listed[2]["nodes"] == 2
        eventually(lambda: json.loads(parlour("rooms", "--json")[1].splitlines()[2])["people"] == 4)
        status, printed, errors = parlour("rooms")
        assert (status, errors) == (0, "")
        assert printed.splitlines() == [
            "room    people  nodes  owner  secret  topic",
            "attic        1      1  ada    yes",
            "cellar       0      0  ada",
            "lobby        4      2  ada            tea 茶 at five",
        ]


def test_a_log_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes the path of the log is told so."""
    assert main(["rooms", "--log", f"sqlite://{tmp_path}/typo.sqlite"]) == 1
    assert "there is no room log" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
