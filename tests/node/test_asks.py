"""Asks: what a client wants besides posts and rooms, about itself and about others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node import Node, NodeSettings
from parlour.node.log import Post, RichPost
from parlour.wire.asks import Answer, Ask
from parlour.wire.messages import Error, Join
from parlour.wire.relay import PEOPLE_TOPIC
from parlour.wire.room_state import EMPTY, Settings
from support.cluster import RawClient, cluster
from support.netcat import Netcat, netcat
from support.waiting import eventually

PASSWORD = "correct horse"


@pytest.mark.parametrize("lines", [False, True], ids=["frames", "lines"])
def test_ask_is_answered(lines: bool) -> None:
    """Each ask gets an answer or an error with its id, and a wrong one does not end the connection."""
    with cluster() as running, RawClient(running.address, "ada", lines=lines) as ada:
        ada.send(Ask(1, "whoami"), Ask(2, "nonsense"), Ask(3, "nick", {"name": 5}), Ask(4, "whoami", {"later": [1]}))
        answers = [ada.get(Answer), ada.get(Answer)]
        assert [answer.ask for answer in answers] == [1, 4]
        assert answers[0].data == {
            "name": "ada",
            "account": "",
            "display": "",
            "operator": False,
            "address": "127.0.0.1",
        }
        for ask in (2, 3):
            error = ada.get(Error)
            assert (error.ask, error.code, error.fatal) == (ask, "bad_request", False)


def test_a_damaged_state_of_a_room_ends_no_connection() -> None:
    """Who asks about it is told."""
    with cluster() as running, RawClient(running.address, "ada") as ada:
        log = running.nodes[0].log
        log.append("den", [RichPost("s", 1, "bob", 1, "owns this room", "role")], None, b"\xff")
        ada.send(Ask(1, "rooms"), Ask(2, "whoami"))
        assert ada.get(Error).text.startswith("the state of the room den is damaged (")
        assert ada.get(Answer).ask == 2


class Person:
    """A person with `nc`, who asks and reads the answers."""

    def __init__(self, nc: Netcat) -> None:
        self.nc = nc

    def ask(self, what: str, **data: object) -> dict[str, Any]:
        """Return the data of the answer, or the error."""
        self.nc.send({"type": "ask", "id": 9, "what": what, "data": data})
        while (answer := self.nc.read())["type"] not in ("answer", "error"):
            pass
        assert answer["ask"] == 9
        found: dict[str, Any] = answer if answer["type"] == "error" else answer.get("data", {})
        return found

    def refused(self, what: str, **data: object) -> str:
        """Return the code of the refusal."""
        code: str = self.ask(what, **data)["code"]
        return code


@contextmanager
def person(node: Node, name: str, **fields: object) -> Iterator[Person]:
    """Say hello to a node."""
    with netcat(node) as nc:
        nc.send({"type": "hello", "name": name, **fields})
        welcome = nc.read()
        assert welcome["type"] == "welcome", welcome
        yield Person(nc)


def code_of(node: Node, name: str, **fields: object) -> str:
    """Return the code with which a node refuses a hello; empty if it does not."""
    with netcat(node) as nc:
        nc.send({"type": "hello", "name": name, **fields}, {"type": "bye"})
        code: str = nc.read().get("code", "")
        while nc.read():
            pass
        return code


def test_guest_registers() -> None:
    """The guest becomes the owner of its name where it is, and signs in from then on; everybody is told."""
    with cluster(2, NodeSettings(registration="open")) as running, running.clients("bob", room="lobby"):
        first, second = running.nodes
        with person(first, "ada") as ada, person(second, "eve") as eve:
            for each in (ada, eve):
                each.nc.send({"type": "join", "room": "lobby"})
            assert ada.refused("register", password="short") == "bad_request"
            assert ada.ask("register", password=PASSWORD) == {"account": "ada"}
            assert ada.ask("whoami")["account"] == "ada"
            assert ada.refused("register", password=PASSWORD) == "has_account"
            told = eve.nc.get("presence")
            while not told.get("accounts"):
                told = eve.nc.get("presence")
            assert told["joined"][told["accounts"][0]] == "ada"
            ada.nc.send({"type": "say", "room": "lobby", "id": 1, "text": "mine now"})
            assert eve.nc.get("message")["account"] == "ada"
        assert code_of(second, "ada") == "name_taken"
        assert code_of(second, "ada", password=PASSWORD) == ""


def test_invitations() -> None:
    """Where an account needs one, each is good once; a guest uses it by `register`, a newcomer in its hello."""
    with cluster(2, NodeSettings(guests=False)) as running:
        first, second = running.nodes
        first.people.directory.accounts.add("root", make_password(PASSWORD), operator=True)
        with person(first, "root", password=PASSWORD) as root:
            code = root.ask("invite")["code"]
        assert code_of(second, "ada", password=PASSWORD, invitation="a guess") == "bad_invitation"
        assert code_of(second, "ada", password="short", invitation=code) == "bad_request"
        assert code_of(second, "root", password=PASSWORD, invitation=code) == "name_taken"
        with person(second, "ada", password=PASSWORD, invitation=code) as ada:
            assert ada.ask("whoami")["account"] == "ada"
        assert code_of(first, "bob", password=PASSWORD, invitation=code) == "bad_invitation"


@pytest.mark.parametrize("policy", ["invite", "open"])
def test_invitation_to_a_room(policy: str) -> None:
    """The new account is in the room, where what was said before is not new; a guest also keeps the rooms it is in."""
    with cluster(1, NodeSettings(registration=policy)) as running:
        (node,) = running.nodes
        with running.clients("bob", room="lobby") as (bob,):
            bob.say("lobby", "long ago")
            bob.texts(1)
            code = node.people.directory.invitations.make("lobby", 2, 2**50)
            with person(node, "ada", password=PASSWORD, invitation=code) as ada, person(node, "eve") as eve:
                assert ada.ask("belongings")["rooms"] == ["lobby"]
                assert ada.ask("unread") == {"rooms": {}}
                eve.nc.send({"type": "join", "room": "attic"})
                assert eve.ask("register", password=PASSWORD, invitation=code) == {"account": "eve"}
                assert sorted(eve.ask("belongings")["rooms"]) == ["attic", "lobby"]
                bob.say("lobby", "just now")
                bob.texts(1)
                assert ada.ask("unread")["rooms"]["lobby"] == {"unread": 1, "mentions": 0}


@pytest.mark.parametrize(("policy", "code"), [("invite", "bad_invitation"), ("closed", "no_registration")])
def test_registration_needs_leave(policy: str, code: str) -> None:
    """A guest cannot register as it likes; nor invite anybody where accounts are made by operators alone."""
    with cluster(1, NodeSettings(registration=policy)) as running:
        node = running.nodes[0]
        node.people.directory.accounts.add("ada", make_password(PASSWORD))
        with person(node, "bob") as bob, person(node, "ada", password=PASSWORD) as ada:
            assert bob.refused("register", password=PASSWORD) == code
            assert bob.refused("invite") == "no_account"
            assert ("code" in ada.ask("invite", text="")) == (policy == "invite") or policy == "closed"
            assert policy == "invite" or ada.refused("invite") == "no_registration"


def test_devices() -> None:
    """A device has a token of its own, signs in with it to this account alone, and can be locked out by another."""
    with cluster(2) as running:
        first, second = running.nodes
        for name in ("ada", "bob"):
            first.people.directory.accounts.add(name, make_password(PASSWORD))
        with person(first, "ada", password=PASSWORD) as ada:
            token = ada.ask("token", label="ada's phone")["token"]
            (device,) = ada.ask("devices")["devices"]
            assert device["label"] == "ada's phone"
            with person(second, "ada", token=token) as phone:
                assert phone.ask("whoami")["account"] == "ada"
            assert code_of(second, "bob", token=token) == "bad_login"
            with person(second, "bob", password=PASSWORD) as bob:
                assert bob.ask("devices")["devices"] == []
                assert bob.refused("revoke", id=device["id"]) == "no_device"
            assert ada.ask("revoke", id=device["id"]) == {}
            assert code_of(second, "ada", token=token) == "bad_login"


def test_password_changes() -> None:
    """The present one is needed, and the old one is void afterwards."""
    with cluster() as running:
        node = running.nodes[0]
        node.people.directory.accounts.add("ada", make_password(PASSWORD))
        with person(node, "ada", password=PASSWORD) as ada:
            assert ada.refused("password", old="a guess", new="battery staple") == "bad_login"
            assert ada.refused("password", old=PASSWORD, new="short") == "bad_request"
            assert ada.ask("password", old=PASSWORD, new="battery staple") == {}
        assert code_of(node, "ada", password=PASSWORD) == "bad_login"
        assert code_of(node, "ada", password="battery staple") == ""


def test_display_name() -> None:
    """For an account, `nick` sets a name for show on all devices, which members and `whois` tell."""
    with cluster(2) as running:
        first, second = running.nodes
        first.people.directory.accounts.add("ada", make_password(PASSWORD))
        with (
            person(first, "ada", password=PASSWORD) as ada,
            person(second, "ada", password=PASSWORD) as phone,
            person(second, "eve") as eve,
        ):
            for each in (phone, eve):
                each.nc.send({"type": "join", "room": "lobby"})
                each.nc.get("members")
            eventually(lambda: first._relay.has_listeners(PEOPLE_TOPIC))
            shown = {"name": "ada", "display": "Countess of Lovelace"}
            assert ada.ask("nick", name="Countess of Lovelace") == shown
            told = eve.nc.get("presence")
            while not told.get("displays"):
                told = eve.nc.get("presence")
            assert told["displays"] == {"ada": "Countess of Lovelace"}
            assert phone.ask("whoami")["display"] == "Countess of Lovelace"
            found = eve.ask("whois", name="ADA")
            assert {key: found[key] for key in shown} == shown
            assert found["account"] == "ada"
            assert eve.ask("whois", name="eve")["account"] == ""
            assert eve.refused("whois", name="nobody") == "no_person"
            assert ada.refused("nick", name="two\nlines") == "bad_request"
            assert ada.ask("nick", name="") == {"name": "ada", "display": ""}


def test_guests_have_no_account() -> None:
    """What is for accounts is refused."""
    with cluster() as running, person(running.nodes[0], "bob") as bob:
        for what, data in (
            ("password", {"new": PASSWORD}),
            ("token", {}),
            ("devices", {}),
            ("revoke", {"id": "1"}),
            ("invite", {}),
        ):
            assert bob.refused(what, **data) == "no_account"


def test_list_of_rooms_is_whole() -> None:
    """Private conversations and secret rooms neither end the list of rooms nor show in it, and no room is left out."""
    listed = [f"{number:02}" for number in range(50)] + [f"room-{number:02}" for number in range(60)]
    secret = replace(EMPTY, settings=Settings(secret=True)).encode()
    with cluster() as running, RawClient(running.address, "ada") as ada:
        log = running.nodes[0].log
        for room in (*listed, *(f"@{number:032x}" for number in range(1200))):
            log.append(room, [Post("s", 1, "bob", 1, "psst")])
        for room in ("49-secret", "room-50-secret"):
            log.append(room, [Post("s", 1, "bob", 1, "psst")], state=secret)
        told, after = list[str](), ""
        while after or not told:
            ada.send(Ask(1, "rooms", {"after": after}))
            answer = ada.get(Answer).data
            told += [room["name"] for room in answer["rooms"]]
            after = answer["after"]
            assert after in ("", told[-1])
    assert told == listed


def test_conversation_that_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the directory is away, a client is told to join its private conversation again later, not to give it up."""

    def away(*_: str) -> None:
        raise DirectoryError("the directory does not answer")

    with cluster() as running, RawClient(running.address, "ada") as ada:
        monkeypatch.setattr(running.nodes[0].people.directory.belongings, "get", away)
        ada.send(Join(f"@{0:032x}"))
        error = ada.get(Error)
        assert (error.code, error.retry_after) == ("unavailable", 1.0)
