"""Rooms with rights, through the library: what moderators do, and what the others see of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parlour.client import Chat, Disconnected, Message, NodeError, connect
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


def test_roles_are_passed_on(running: Cluster) -> None:
    """The owner makes an operator, who then may do what operators do."""
    ada, bob = enter(running, "ada"), enter(running, "bob")
    lobby, theirs = ada.join("lobby"), bob.join("lobby")
    lobby.give_role("bob", "operator")
    theirs.set_topic("coffee")
    theirs.set("moderated", True)
    eventually(lambda: lobby.state()["settings"]["moderated"] is True)  # ada's node hears of it a moment later
