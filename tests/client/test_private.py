"""Private conversations, and what belongs to an account: rooms, read marks, ignored people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parlour.client import Chat, Message, NodeError, connect
from parlour.directory.passwords import make_password
from support.cluster import Cluster, cluster
from support.waiting import eventually

PASSWORD = "open sesame"


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Two nodes, and accounts for ada, bob and an operator of the cluster."""
    with cluster(2) as running:
        accounts = running.nodes[0].people.directory.accounts
        for name in ("ada", "bob"):
            accounts.add(name, make_password(PASSWORD))
        accounts.add("root", make_password(PASSWORD), operator=True)
        yield running


def enter(running: Cluster, name: str, password: str = PASSWORD) -> Chat:
    """Return a chat of an account, or with an empty password of a guest."""
    return running.closing.enter_context(connect(running.address, name, password=password))


def test_two_talk_alone(running: Cluster) -> None:
    """Both are told, and hear each other from whatever node; nobody else comes in, not even an operator."""
    ada, bob, root = enter(running, "ada"), enter(running, "bob"), enter(running, "root")
    mine = ada.direct("bob")
    mine.say("psst")
    news = next(iter(bob.news(timeout=5)))
    assert (news.what, news.data) == ("direct", {"room": mine.name, "name": "ada"})
    theirs = bob.direct("ada", history=10)
    assert theirs.name == mine.name
    (said,) = [event for event in theirs.events(timeout=1.5) if isinstance(event, Message)]
    assert (said.text, said.account) == ("psst", "ada")
    for other in (root, enter(running, "eve", "")):
        with pytest.raises(NodeError) as refused:
            other.join(mine.name)
        assert refused.value.code == "no_conversation"
        assert mine.name not in [room["name"] for room in other.listed_rooms()]
    with pytest.raises(NodeError, match="nobody here has the name"):
        ada.direct("nobody")


def test_kept_for_somebody_who_is_away(running: Cluster) -> None:
    """What was said while the other was offline is there when the other comes."""
    with connect(running.address, "ada", password=PASSWORD) as ada:
        ada.direct("bob").say("are you there?")
    bob = enter(running, "bob")
    kept = bob.belongings()["conversations"]
    assert list(kept.values()) == ["ada"]
    room = bob.join(next(iter(kept)), history=10)
    assert [event.text for event in room.events(timeout=1.5) if isinstance(event, Message)] == ["are you there?"]


def test_guests_talk_alone(running: Cluster) -> None:
    """Guests may, too; another guest who takes the name later is another person."""
    ada = enter(running, "ada")
    with connect(running.address, "cy") as cy:
        room = ada.direct("cy")
        cy.direct("ada").say("hello")
    eventually(lambda: running.nodes[0].people.directory.names.holder("cy") is None)
    again = enter(running, "cy", "")
    assert again.direct("ada").name != room.name


def test_unread_counts(running: Cluster) -> None:
    """An account that comes back is told of its rooms, until the mark moves or it leaves the room."""
    ada = enter(running, "ada")
    lobby = ada.join("lobby")
    with connect(running.address, "bob", password=PASSWORD) as bob:
        bob.join("lobby")
    lobby.say("one")
    lobby.say("bob: two")
    last = lobby.say("is the Baron here, bobby?")
    bob = enter(running, "bob")
    assert bob.belongings()["rooms"] == ["lobby"]
    assert bob.unread() == {"lobby": {"unread": 3, "mentions": 1}}
    bob.nick("The Baron")
    assert bob.unread() == {"lobby": {"unread": 3, "mentions": 2}}
    second = enter(running, "bob")
    bob.mark("lobby", last.offset)
    news = next(news for news in second.news(timeout=20) if news.what != "display")
    assert (news.what, news.data) == ("mark", {"room": "lobby", "offset": last.offset})
    assert bob.unread() == {}
    bob.join("lobby").leave()
    assert bob.belongings()["rooms"] == []


def test_ignored_people(running: Cluster) -> None:
    """They are kept with the account."""
    bob = enter(running, "bob")
    bob.ignore("eve")
    bob.ignore("cy")
    bob.unignore("eve")
    assert enter(running, "bob").belongings()["ignored"] == ["cy"]


def test_listed_rooms(running: Cluster) -> None:
    """Rooms are listed with topic and people, unless they are secret."""
    ada = enter(running, "ada")
    ada.join("lobby").set_topic("tea")
    ada.join("attic").set("secret", True)
    told = {room["name"]: room for room in enter(running, "eve", "").listed_rooms()}
    assert told["lobby"]["topic"] == "tea"
    assert "attic" not in told
