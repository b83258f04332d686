"""The Python code on the pages runs as it is printed, and does what the pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from parlour.client import Message, Room
from support.cluster import Cluster
from support.source import ROOT
from support.waiting import eventually


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@contextmanager
def running(block: str, cluster: Cluster) -> Iterator[subprocess.Popen[str]]:
    """Run a block against the cluster."""
    assert "127.0.0.1:6000" in block
    code = block.replace("127.0.0.1:6000", cluster.address)
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        yield program
        program.kill()


def answer(room: Room, question: str) -> str:
    """Post a question; return the next text of another client."""
    room.say(question)
    for event in room.events(20):
        if isinstance(event, Message) and not event.mine and not event.replay:
            return event.text
    raise AssertionError(f"nobody answered {question!r}")


@pytest.mark.parametrize(
    ("page", "question", "echo"),
    [("README.md", "!echo is it me?", "is it me?"), ("docs/library.md", "hello", "ada says: hello")],
)
def test_the_bots_on_the_pages_echo(cluster: Cluster, page: str, question: str, echo: str) -> None:
    """Each of them repeats what others say, and never itself."""
    lobby = cluster.chat("ada").join("lobby")
    with running(blocks(page)[0], cluster):
        eventually(lambda: lobby.bots == ["echo"], 20, "the bot is there")
        assert answer(lobby, question) == echo
        assert answer(lobby, question) == echo
        assert [message.mine for message in lobby.history()] == [True, False, True, False]


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        (1, ["1 True", "[2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"]),
        (
            2,
            [
                "bad_ref record 1 is not yours: only its author may edit it",
                "edit builder building: done",
                "react builder building: done",
                "redact builder building: done",
                "[('hello', False, {}), ('building: done', True, {}), ('who tests it?', False, {})]",
            ],
        ),
    ],
)
def test_the_other_blocks_run(cluster: Cluster, number: int, lines: list[str]) -> None:
    """They run to their end, and print what the page says."""
    if number == 2:
        cluster.chat("bob").join("lobby").say("hello")
    with running(blocks("docs/library.md")[number], cluster) as program:
        said, _ = program.communicate(timeout=30)
    assert program.returncode == 0, said
    assert said.splitlines()[: len(lines)] == lines
