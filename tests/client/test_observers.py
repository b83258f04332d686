"""Observers hear everything and are shown to nobody; bots are shown as bots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from parlour.chaos.observer import Observer
from parlour.client import Event, Message, NodeError, Presence, Room, UsageError, connect
from support.cluster import Cluster
from support.processes import Processes, processes
from support.source import ROOT
from support.waiting import eventually


@pytest.fixture
def started() -> Iterator[Processes]:
    """End the processes that a test starts."""
    with processes() as running:
        yield running


def until_said(room: Room, text: str) -> list[Event]:
    """Return the events up to the message of this text."""
    events: list[Event] = []
    for event in room.events(timeout=10):
        events.append(event)
        if isinstance(event, Message) and event.text == text:
            return events
    raise AssertionError(f"{text!r} was not heard, but {events}")


def test_observers_are_not_shown(cluster: Cluster, started: Processes) -> None:
    """A tail without a name and the observers of a replay are not shown on any node, and hear everything."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    assert ada.node != bob.node
    lobby, other = ada.join("lobby"), bob.join("lobby")
    eventually(lambda: lobby.members == ["ada", "bob"])
    tails = [started.launch("tail", "--broker", cluster.address, "--room", "lobby", "--json") for _ in range(2)]
    eventually(lambda: sum(node.clients.connections() for node in cluster.nodes) == 4)
    with Observer([cluster.address], "n1", "lobby"), connect(cluster.address, "ear", observer=True) as ear:
        heard = ear.join("lobby")
        assert heard.members == ["ada", "bob"]
        with pytest.raises(UsageError, match="only listens"):
            heard.say("me too")
        lobby.say("hello")
        assert any(isinstance(event, Message) for event in heard.events(5))
        for tail in tails:
            assert tail.stdout is not None
            assert json.loads(tail.stdout.readline())["text"] == "hello"
        assert lobby.who() == other.who() == ["ada", "bob"]
    for tail in tails:
        started.kill(tail)
    eventually(lambda: sum(node.clients.connections() for node in cluster.nodes) == 2)
    lobby.say("over")
    seen = [event for event in until_said(other, "over") if isinstance(event, Presence)]
    assert {name for event in seen for name in (*event.joined, *event.left)} <= {"ada", "bob"}
    assert lobby.who() == ["ada", "bob"]


def test_a_node_refuses_posts_of_observers(cluster: Cluster) -> None:
    """Also if the client does not check that."""
    with connect(cluster.address, "ear", observer=True) as ear:
        room = ear.join("lobby")
        ear._observer = False
        with pytest.raises(NodeError) as refused:
            room.say("me too")
        assert refused.value.code == "observer"
        assert room.history() == []


def test_bots_are_told_apart(cluster: Cluster) -> None:
    """In lists and changes, on every node."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    lobby, other = ada.join("lobby"), bob.join("lobby")
    with connect(cluster.address, "robot", bot=True) as robot:
        robot.join("lobby").say("beep")
        for room in (lobby, other):
            came = [event for event in until_said(room, "beep") if isinstance(event, Presence)]
            came += [event for event in room.events(0.5) if isinstance(event, Presence)]
            assert {name: name in event.bots for event in came for name in event.joined}["robot"]
            assert bots_of(room) == ["robot"]
        for again in (ada, bob):
            again.leave("lobby")
            assert bots_of(again.join("lobby")) == ["robot"]


def bots_of(room: Room) -> list[str]:
    """Ask for the members; return those that are bots."""
    room.who()
    return room.bots


@contextmanager
def dicebot(cluster: Cluster, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the example with the cluster."""
    command = [sys.executable, str(ROOT / "examples" / "dicebot.py"), *arguments]
    with subprocess.Popen(
        [*command, "--broker", cluster.address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as bot:
        yield bot
        bot.kill()


def test_the_example_greets_only_people(cluster: Cluster) -> None:
    """It rolls dice, greets no bots and no observers, and has a help."""
    with dicebot(cluster, "lobby") as bot:
        assert bot.stdout is not None
        assert "rolling dice" in bot.stdout.readline()
        with (
            connect(cluster.address, "robot", bot=True) as robot,
            connect(cluster.address, "ear", observer=True) as ear,
        ):
            robot.join("lobby")
            ear.join("lobby")
            ada = cluster.chat("ada").join("lobby", history=50)
            until_said(ada, "welcome, ada!")
            ada.say("!roll 2d6")
            heard = [event.text for event in ada.events(3) if isinstance(event, Message)]
            assert any(text.startswith("ada rolls ") for text in heard)
            assert not [message.text for message in ada.history() if "robot" in message.text or "ear" in message.text]
    with dicebot(cluster, "--help") as bot:
        assert bot.stdout is not None
        assert "!roll 2d6" in bot.stdout.read()
