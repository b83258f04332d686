"""Wrong arguments of a program: the library refuses them at once and never sends them."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import pytest

from parlour.client import Message, UsageError, connect, outbox
from support.cluster import Cluster
from support.waiting import eventually


class Marked(str):
    """A text as a library for HTML returns it."""


def test_wrong_types_are_refused(cluster: Cluster) -> None:
    """Without this check the node would close the connection again and again, or the reconnector would fail."""
    ada = cluster.chat("ada")
    room = ada.join("lobby")
    anything: Any
    for anything in (b"bytes", 5, None):
        with pytest.raises(UsageError, match="a text is a str"):
            room.post(anything)
        with pytest.raises(UsageError, match="a room name is a str"):
            ada.join(anything)
        with pytest.raises(UsageError, match="a name is a str"):
            connect(cluster.address, anything)
    for anything in (2.5, True, Fraction(5)):
        with pytest.raises(UsageError, match="history is a whole number"):
            ada.join("den", history=anything)
        with pytest.raises(UsageError, match="limit is a whole number"):
            room.history(limit=anything)
        with pytest.raises(UsageError, match="before is a whole number"):
            room.history(before=anything)
    assert room.say("still here").offset == 1
    assert [type(event) for event in room.events(0.05)] == [Message]


def test_a_class_derived_from_str_is_a_str(cluster: Cluster) -> None:
    """As a text, a name or a room, and also when the post is sent again."""
    with connect(cluster.address, Marked("ada")) as ada:
        first = ada._reconnector.current
        assert first is not None
        room = ada.join(Marked("lobby"))
        assert room.say(Marked("hello")).text == "hello"
        first.connection._shut()
        eventually(lambda: ada._reconnector.current not in (None, first))
        assert room.say(Marked("again")).text == "again"
        assert room.who() == ["ada"]


def test_infinite_timeouts_work(cluster: Cluster) -> None:
    """With an infinite timeout each call waits until it is answered; the system calls do not allow one."""
    ada = connect(cluster.address, "ada", timeout=inf)
    try:
        room = ada.join("lobby", timeout=inf)
        posts = [room.post(str(number), timeout=inf) for number in range(outbox.MAX_PENDING + 200)]
        assert room.say("last", timeout=inf).offset == len(posts) + 1
        assert room.who(timeout=inf) == ["ada"]
        assert [message.text for message in room.history(limit=1, timeout=inf)] == ["last"]
        ada.leave("lobby", timeout=inf)
    finally:
        ada.close(timeout=inf)
    assert not ada.connected
