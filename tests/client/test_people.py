"""Names, accounts and devices, through the library and real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from parlour.client import Chat, NameTakenError, SignInError, connect
from parlour.client.display import Lines
from parlour.directory.passwords import make_password
from support.cluster import Cluster, quick_cluster
from support.waiting import eventually

PASSWORD = "open sesame"


@pytest.fixture
def running() -> Iterator[Cluster]:
    """Two nodes, and an account for ada."""
    with quick_cluster(2) as running:
        running.nodes[0].people.directory.accounts.add("ada", make_password(PASSWORD))
        yield running


def test_nick(running: Cluster) -> None:
    """A guest that takes another name is in its rooms once, for itself and for the others."""
    with connect(running.address, "bob") as bob, connect(running.address, "cy") as cy:
        rooms = [bob.join("lobby"), cy.join("lobby")]
        bob.nick("rob")
        assert bob.name == "rob"
        eventually(lambda: all((room.members, room.count) == (["cy", "rob"], 2) for room in rooms))
        assert bob.whois("rob") == {"name": "rob", "account": "", "display": "", "operator": False}


def test_mentions_after_nick(running: Cluster) -> None:
    """The chat goes by the names that the person has now: a guest's new one, and the display name of an account."""
    with connect(running.address, "bob") as bob, connect(running.address, "ada", password=PASSWORD) as ada:
        lobby = bob.join("lobby")
        said = {name: lobby.say(f"{name}: hello") for name in ("bob", "rob", "ada", "Countess")}

        def named(chat: Chat) -> list[str]:
            reader = Lines(colour=False, reader=chat)
            return [name for name, message in said.items() if reader.mentions(replace(message, by="cy", mine=False))]

        bob.nick("rob")
        ada.nick("Countess")
        assert (named(bob), named(ada)) == (["rob"], ["ada", "Countess"])
        with connect(running.address, "ada", password=PASSWORD) as phone:
            assert phone.whoami()["display"] == "Countess"
            assert named(phone) == ["ada", "Countess"]


def test_taken(running: Cluster) -> None:
    """Without its password nobody gets the name of an account, and the error names a free one."""
    with pytest.raises(NameTakenError) as taken:
        connect(running.address, "ada")
    assert taken.value.free == "ada2"
    with pytest.raises(SignInError) as wrong:
        connect(running.address, "ada", password="a guess")
    assert wrong.value.code == "bad_login"


def test_device(running: Cluster) -> None:
    """A device signs in with its token until the token is revoked."""
    with connect(running.address, "ada", password=PASSWORD) as ada:
        token = ada.new_token("phone")
        with connect(running.address, "ada", token=token) as phone:
            assert phone.account == "ada"
        (device,) = ada.devices()
        assert device.label == "phone"
        ada.revoke(device.id)
    with pytest.raises(SignInError):
        connect(running.address, "ada", token=token)
