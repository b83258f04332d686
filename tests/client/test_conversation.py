"""The chat of a person without a terminal, when a part of it fails."""

from __future__ import annotations

import os
import threading

import pytest

from parlour.client import Message
from parlour.client.conversation import Conversation
from parlour.client.display import Lines
from parlour.client.keyboard import Pipe
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
        eventually(lambda: "bob" in ada.members, 10)
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
