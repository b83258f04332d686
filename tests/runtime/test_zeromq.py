"""libzmq ends a process that cannot open one more file when a context starts, so parlour checks before."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from parlour.client import Message
from support.cluster import cluster
from support.waiting import MS

BEGINNING = """
import os, resource, sys
from parlour.wire.errors import ParlourError

def leave(files):
    "Fill the process's open files but for so many; return what can be closed."
    limit = len(os.listdir("/proc/self/fd")) + 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        for _ in range(files):
            os.close(held.pop())
    return held
"""

# Each number of free files runs in a process of its own, whose exit status shows how it ended.
EACH_NUMBER = """
for files in range(40):
    child = os.fork()
    if child == 0:
        {before}
        leave(files)
        try:
            {what}
        except (ParlourError, OSError) as error:
            print(files, type(error).__name__, error)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(files, "ended by signal", status)
"""

ASKING = """from parlour.runtime.broker_rpc import ask; from parlour.wire.control import Describe
ASK = lambda: ask([sys.argv[1]], Describe(), 5)
"""
BROKER = """from parlour.broker import Broker, BrokerSettings
def serve():
    broker = Broker(BrokerSettings(bind="127.0.0.1:0")); broker.start(); broker.stop()
"""
NODE = """from parlour.node import Node, NodeSettings
def serve():
    node = Node(NodeSettings(brokers=(sys.argv[1],))); node.start(); node.stop()
"""
FEED = """from parlour.monitor.feed import LoadFeed
def serve():
    with LoadFeed([sys.argv[1]]): pass
"""

A_BOT = """
from parlour.client import Reconnected, Reconnecting, connect
from support.waiting import poll
with connect(sys.argv[1], "bot") as chat:
    room = chat.join("lobby")
    held = leave(2)
    room.post("ready")  # its node may be stopped before it is acknowledged
    for event in room.events(timeout=20):
        if isinstance(event, Reconnecting):
            # Tried, and failed for want of files.
            assert poll(lambda: chat._reconnector._retry._backoff._attempts >= 4, 20)
            for each in held:
                os.close(each)
        elif isinstance(event, Reconnected):
            print(room.say("back").text)
            break
"""


def run(program: str, *arguments: str) -> str:
    """Run a program to its end and return its output."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BEGINNING + program, *arguments],
        capture_output=True,
        text=True,
        timeout=80_000 * MS,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("imports", "before", "what"),
    [(ASKING, "pass", "ASK()"), (ASKING, "ASK()", "ASK()"), (BROKER, "pass", "serve()"), (NODE, "pass", "serve()"),
     (FEED, "pass", "serve()")],
    ids=["first question", "second question", "broker", "node", "feed"],
)  # fmt: skip
def test_few_open_files_end_no_process(imports: str, before: str, what: str) -> None:
    """With any number of files left, the call works or raises an error."""
    with cluster() as running:
        said = run(imports + EACH_NUMBER.format(before=before, what=what), running.address)
    assert "signal" not in said
    assert "Error" in said  # a node may refuse before it comes to ZeroMQ


def test_a_bot_survives_a_lack_of_files() -> None:
    """Its node stops when the bot cannot ask a broker for another; it comes back when it has files again."""
    with cluster(2) as running, ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(run, A_BOT, running.address)
        eve = running.chat("eve")
        assert any(isinstance(event, Message) for event in eve.join("lobby", history=1).events(20))  # the bot is ready
        running.node_where("bot").stop()
        assert outcome.result(30) == "back\n"
