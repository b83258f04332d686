"""A program that forks: neither the child nor a copy uses or ends the parent's objects."""

from __future__ import annotations

import copy
import json
import pickle
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from parlour.client import UsageError
from support.cluster import Cluster, cluster
from support.waiting import MS, eventually

BEGINNING = """
import gc, json, os, sys, threading, warnings
from parlour.client import UsageError, connect
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own word on forks of programs with threads

def refusals(**calls):
    told = {}
    for name, call in calls.items():
        try:
            call()
            told[name] = ""
        except UsageError as error:
            told[name] = str(error)
    return told
"""

A_CHAT = """
broker = sys.argv[1]
with connect(broker, "ada") as chat:
    lobby = chat.join("lobby")
    first = lobby.say("first")
    events = lobby.events(timeout=5)
    next(events)
    held, let_go = threading.Event(), threading.Event()

    def hold():  # all that a thread may hold at the moment of the fork
        link = chat._reconnector.current
        with chat.outbox._posting, chat.outbox._lock, chat._lock, lobby._lock:
            with link.connection._write_lock, chat._reconnector._lock:
                held.set()
                let_go.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        told = refusals(
            say=lambda: lobby.say("from the child"),
            post=lambda: lobby.post("from the child"),
            events=lambda: next(lobby.events(timeout=1)),
            events_begun=lambda: next(events),
            who=lobby.who,
            history=lobby.history,
            members=lambda: lobby.members,
            count=lambda: lobby.count,
            replays=lambda: lobby.replays,
            leave_room=lobby.leave,
            join=lambda: chat.join("lobby"),
            leave=lambda: chat.leave("lobby"),
            rooms=lambda: chat.rooms,
            connected=lambda: chat.connected,
            enter=chat.__enter__,
        )
        chat.close()
        gc.collect()
        with connect(broker, "bob") as own:
            own.join("lobby").say("from bob")
        print(json.dumps(told), flush=True)
        sys.exit(0)  # by way of the block's end
    _, status = os.waitpid(child, 0)
    let_go.set()
    holder.join()
    later = [lobby.say(str(number)).offset for number in range(3)]
    print(json.dumps({"status": status, "later": later, "ids": chat.session == first.id.rpartition("-")[0]}))
"""

A_CHILD_THAT_STAYS = """
chat = connect(sys.argv[1], "ada")
chat.join("lobby")
if os.fork():
    print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""

A_CLUSTER = """
from parlour.broker import Broker, BrokerSettings
from parlour.node import Node, NodeSettings
broker = Broker(BrokerSettings(bind="127.0.0.1:0"))
broker.start()
node = Node(NodeSettings(name="n1", brokers=(broker.address,)))
node.start()
with connect(broker.address, "ada") as chat:
    lobby = chat.join("lobby")
    child = os.fork()
    if child == 0:
        told = refusals(node=node.start, broker=broker.start)
        node.stop()
        broker.stop()
        gc.collect()
        print(json.dumps(told), flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    with connect(broker.address, "bob") as other:
        heard = other.join("lobby").say("still here").offset
    print(json.dumps({"status": status, "heard": heard, "said": lobby.say("me too").offset}))
node.stop()
broker.stop()
"""


def output(program: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a program to its end; return the JSON objects that it and its child printed, one a line."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, *arguments],
        capture_output=True,
        text=True,
        timeout=30_000 * MS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_child_and_its_parents_chat() -> None:
    """The child can neither use nor end it, whatever locks were held at the fork; a chat of its own works."""
    with cluster() as running:
        told, outcome = output(A_CHAT, running.address)
        for call, text in told.items():
            assert "is a forked child: connect in this process" in text, call
            assert "\n" not in text
        # bob's line stands between; the child posted nothing in ada's name.
        assert outcome == {"status": 0, "later": [3, 4, 5], "ids": True}
        said = [message.text for message in running.chat("eve").join("lobby").history()]
        assert said == ["first", "from bob", "0", "1", "2"]


def test_a_connection_ends_with_its_program() -> None:
    """Otherwise the child's copy of the socket would keep the dead program in its rooms."""
    with (
        cluster() as running,
        subprocess.Popen(
            [sys.executable, "-c", BEGINNING + A_CHILD_THAT_STAYS, running.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program,
    ):
        assert program.stdout is not None
        assert select.select([program.stdout], [], [], 20_000 * MS)[0]
        assert running.nodes[0].clients.connections() == 1
        program.kill()
        eventually(lambda: running.nodes[0].clients.connections() == 0, what="the node sees the end of the connection")


def test_a_child_and_its_parents_cluster() -> None:
    """The same holds for brokers and nodes within programs."""
    told, outcome = output(A_CLUSTER)
    assert all("is a forked child: make one in this process" in text for text in told.values())
    assert outcome == {"status": 0, "heard": 1, "said": 2}


@pytest.fixture
def running() -> Any:
    """Run a cluster of one node."""
    with cluster() as started:
        yield started


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_is_not_duplicated(running: Cluster, duplicate: Callable[[object], object]) -> None:
    """Two copies that count posts in one session would get each other's acknowledgements."""
    chat = running.chat("ada")
    for original in (chat, chat.join("lobby")):
        with pytest.raises(UsageError, match=r"cannot be copied, pickled or sent .*: connect in this process"):
            duplicate(original)
