"""Rooms with rights, through the library: what moderators do, and what the others see of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from parlour.client import Chat, Disconnected, DisconnectedError, Message, NodeError, connect
from parlour.directory.passwords import make_password
from support.cluster import Cluster, cluster
from support.waiting import eventually

PASSWORD = "open sesame"


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Two nodes, and accounts for ada and bob."""
    with cluster(2) as running:
        for name in ("ada", "bob"):
            running.nodes[0].people.directory.accounts.add(name, make_password(PASSWORD))
        yield running


def enter(running: Cluster, name: str, password: str = PASSWORD) -> Chat:
    """Return a chat of an account, or with an empty password of a guest."""
    return running.closing.enter_context(connect(running.address, name, password=password))


def test_founder_moderates(running: Cluster) -> None:
    """The first account owns the room: it sets the topic, mutes, and shows somebody out, who learns why."""
    ada, bob, cy = enter(running, "ada"), enter(running, "bob"), enter(running, "cy", "")
    lobby = ada.join("lobby")
    assert ada.account == "ada"
    theirs, guests = bob.join("lobby"), cy.join("lobby")
    assert lobby.set_topic("tea").text == "changed the topic to: tea"
    with pytest.raises(NodeError, match="only an operator of this room can set the topic: ask ada") as refused:
        theirs.set_topic("coffee")
    assert refused.value.code == "forbidden"
    state = theirs.state()
    assert (state["topic"], state["roles"], state["role"]) == ("tea", {"ada": "owner"}, "")
    lobby.mute("bob", reason="noise")
    with pytest.raises(NodeError, match=r"you are muted in this room \(noise\): ask ada"):
        theirs.say("still here")
    lobby.unmute("bob")
    theirs.say("back")
    lobby.ban("cy", 60, "spam")
    (*_, last) = guests.events(timeout=5)
    assert isinstance(last, Disconnected)
    assert "banned" in last.reason
    assert [room.name for room in cy.rooms] == []
    assert cy.connected
    with pytest.raises(NodeError, match="banned"):
        cy.join("lobby")
    kinds = [event.kind for event in theirs.events(timeout=0.2) if isinstance(event, Message)]
    assert kinds == ["topic", "mute", "unmute", "", "ban"]


def test_state_is_kept_up_to_date(running: Cluster) -> None:
    """Topic, roles and settings follow the records that come, also after the connection was lost."""
    ada, bob = enter(running, "ada"), enter(running, "bob")
    lobby, theirs = ada.join("lobby"), bob.join("lobby")
    eventually(lambda: theirs.owner == "ada")
    assert (theirs.topic, theirs.role, lobby.role, theirs.settings["moderated"]) == ("", "", "owner", False)
    asked: list[str] = []
    with patch.object(Chat, "ask", lambda *_: asked.append("ask")):
        lobby.set_topic("tea")
        lobby.give_role("bob", "operator")
        lobby.set("password", "sesame")
        assert (lobby.topic, lobby.roles, lobby.settings["password"]) == (
            "tea",
            {"ada": "owner", "bob": "operator"},
            True,
        )
        eventually(lambda: theirs.settings["password"])
        assert (theirs.topic, theirs.role) == ("tea", "operator")
    assert asked == []
    link = bob._reconnector.current
    assert link is not None
    link.connection._socket.shutdown(socket.SHUT_RDWR)
    lobby.set_topic("coffee")
    eventually(lambda: theirs.topic == "coffee")
    assert theirs.state()["topic"] == "coffee"


def test_state_of_a_guest(running: Cluster) -> None:
    """A guest has no role; without a connection the state of before is told."""
    ada, cy = enter(running, "ada"), enter(running, "cy", "")
    ada.join("lobby").give_role("bob", "operator")
    room = cy.join("lobby")
    eventually(lambda: room.roles == {"ada": "owner", "bob": "operator"})
    assert room.role == ""
    with patch.object(Chat, "ask", side_effect=DisconnectedError("lost")):
        room._known.joined(str(room._known._epoch))
        assert room.owner == "ada"
        room._known.joined("another")
        with pytest.raises(DisconnectedError):
            _ = room.owner


def test_roles_are_passed_on(running: Cluster) -> None:
    """The owner makes an operator, who then may do what operators do."""
    ada, bob = enter(running, "ada"), enter(running, "bob")
    lobby, theirs = ada.join("lobby"), bob.join("lobby")
    lobby.give_role("bob", "operator")
    theirs.set_topic("coffee")
    theirs.set("moderated", True)
    eventually(lambda: lobby.state()["settings"]["moderated"] is True)  # ada's node hears of it a moment later
