"""The chat of a person without a terminal, when a part of it fails."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

import pytest

from parlour.client import Message, conversation
from parlour.client.conversation import Conversation
from parlour.client.display import Lines
from parlour.client.keyboard import Pipe
from parlour.node.clients import asks
from parlour.node.log.memory import MemoryLog
from parlour.runtime.threads import join_all, spawn
from support.cluster import Cluster
from support.waiting import MS, eventually


class Faulty(Lines):
    """Lines with a bug that occurs for the text "fail"."""

    def mentions(self, message: Message, answered: Message | None = None) -> bool:
        """Whether another person has named the one who reads."""
        if message.text == "fail":
            raise ZeroDivisionError("a bug")
        return super().mentions(message, answered)


def test_a_chat_that_cannot_show_a_room_ends(cluster: Cluster) -> None:
    """Otherwise the person would have a prompt in a room that seems to be silent."""
    ada = cluster.chat("ada").join("lobby")
    receiver, sender = os.pipe()
    ended = threading.Event()

    def provoke() -> None:
        eventually(lambda: "bob" in ada.members)
        ada.say("fail")
        ended.wait(10_000 * MS)
        os.close(sender)  # so that the chat ends in any case

    with os.fdopen(receiver):
        pipe = Pipe(receiver)
        thread = spawn("provokes", provoke)
        try:
            with pytest.raises(ZeroDivisionError):
                Conversation(cluster.chat("bob"), pipe, Faulty(colour=False)).run("lobby")
        finally:
            ended.set()
            pipe.close()
            join_all([thread], 10)


def test_a_connection_lost_on_entering(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat does not end: it asks again what is kept for the person when the connection is back."""
    handler, asked = asks.HANDLERS["belongings"], list[str]()

    def hang_up(session: Any, data: Any) -> dict[str, Any]:
        asked.append(session.id)
        if len(asked) == 1:
            session.writer.hang_up()
        return handler.answer(session, data)

    monkeypatch.setitem(asks.HANDLERS, "belongings", handler._replace(answer=hang_up))
    ada = cluster.chat("ada").join("lobby")
    receiver, sender = os.pipe()
    with os.fdopen(receiver), os.fdopen(sender, "wb", buffering=0) as typing:
        pipe = Pipe(receiver)
        person = Conversation(cluster.chat("bob"), pipe, Lines(colour=False))
        thread = spawn("person", person.run, "lobby")
        eventually(lambda: len(asked) == 2)
        typing.write(b"here I am\n")
        eventually(lambda: [message.text for message in ada.history()] == ["here I am"])
        typing.close()
        join_all([thread], 20)
        pipe.close()
    assert len(set(asked)) == 1, "it is the same session"


def test_edit_means_no_older_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last line is on its way, a command that means it fails, and does not take the line before."""
    monkeypatch.setattr(conversation, "_NOTICED", 50 * MS)
    ada = cluster.chat("ada").join("lobby")
    receiver, sender = os.pipe()
    go_on, append, shown = threading.Event(), MemoryLog.append, io.StringIO()
    go_on.set()
    # To read what pytest captured again and again, while another thread writes, would lose lines.
    monkeypatch.setattr(sys, "stdout", shown)

    def slow(*arguments: Any) -> object:
        assert go_on.wait(20)
        return append(*arguments)

    monkeypatch.setattr(MemoryLog, "append", slow)
    with os.fdopen(receiver), os.fdopen(sender, "wb", buffering=0) as typing:
        pipe = Pipe(receiver)
        person = Conversation(cluster.chat("bob"), pipe, Lines(colour=False))
        thread = spawn("person", person.run, "lobby")
        typing.write(b"first\n")
        eventually(lambda: [message.text for message in ada.history()] == ["first"])
        go_on.clear()
        typing.write(b"second\n/edit changed\n")
        eventually(lambda: "your last line is still on its way" in shown.getvalue())
        go_on.set()
        typing.close()
        join_all([thread], 20)
        pipe.close()
    assert [message.text for message in ada.history()] == ["first", "second"]
