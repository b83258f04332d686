"""Signing in: by password, token, JWT and SASL, in both dialects; and who may not come in."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parlour.directory.memory import MemoryStore
from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node import Node, NodeSettings
from parlour.node.people.scram import Scram
from parlour.wire.errors import UsageError
from parlour.wire.limits import PROTOCOL
from parlour.wire.messages import Bye, Hello, Message, Welcome
from parlour.wire.signin import Auth, Challenge
from support.cluster import Cluster, RawClient, cluster
from support.netcat import Netcat, netcat
from support.scram import proof, scram_fields
from support.waiting import eventually

PASSWORD = "correct horse"


def add_account(node: Node, name: str, password: str = PASSWORD, operator: bool = False) -> None:
    """Make an account in the directory of a node."""
    node.people.directory.accounts.add(name, make_password(password), operator=operator)


@contextmanager
def with_ada(nodes: int = 1, **settings: Any) -> Iterator[Cluster]:
    """Run a cluster in which ada has an account."""
    with cluster(nodes, NodeSettings(**settings)) as running:
        add_account(running.nodes[0], "ada")
        yield running


def hello(name: str, **fields: object) -> dict[str, object]:
    """Return a hello as a line."""
    return {"type": "hello", "name": name, **fields}


def answer(node: Node, *lines: object) -> dict[str, Any]:
    """Send lines on a connection of its own, and return the node's first answer."""
    with netcat(node) as nc:
        nc.send(*lines)
        return nc.read()


def said(nc: Netcat) -> dict[str, Any]:
    """Return the next text of a person; an account that makes a room also makes records of its state."""
    while (message := nc.get("message")).get("kind", ""):
        pass
    return message


def texts(client: RawClient, count: int) -> list[str]:
    """Return the next texts and edits of people."""
    found: list[str] = []
    while len(found) < count:
        message = client.get(Message)
        found += [message.text] if message.kind in ("", "edit") else []
    return found


def test_password() -> None:
    """By hand, with `nc`: the account speaks under its own spelling of its name, and its posts carry it."""
    with with_ada() as running, netcat(running.nodes[0]) as ada, running.clients("bob", room="lobby") as (bob,):
        ada.send(hello("Ada", password=PASSWORD))
        welcome = ada.read()
        assert (welcome["type"], welcome["name"], welcome["account"]) == ("welcome", "ada", "ada")
        ada.send({"type": "join", "room": "lobby"}, {"type": "say", "room": "lobby", "id": 1, "text": "it is me"})
        message = said(ada)
        assert (message["by"], message["account"], message["text"]) == ("ada", "ada", "it is me")
        bob.say("lobby", "and I am a guest")
        assert said(ada).get("account", "") == ""
        ada.send({"type": "who", "room": "lobby"})
        members = ada.get("members")
        while members["names"] != ["ada", "bob"]:
            members = ada.get("members")
        assert members["accounts"] == [0]


@pytest.mark.parametrize("lines", [False, True], ids=["frames", "lines"])
def test_password_in_both_dialects(lines: bool) -> None:
    """A hello with a ticket and a password."""
    with with_ada() as running, RawClient(running.address, "ada", lines=lines, password=PASSWORD) as ada:
        ada.join("lobby")
        ada.say("lobby", "hello")
        assert texts(ada, 1) == ["hello"]


def test_wrong_sign_in_tells_nothing() -> None:
    """Whatever is wrong, the refusal is the same, also if there is no such account."""
    with with_ada() as running:
        node = running.nodes[0]
        wrong = [
            hello("ada", password="a guess"),
            hello("nobody", password="a guess"),
            hello("ada", token="a guess"),
            hello("nobody", token="a guess"),
        ]
        answers = [answer(node, each) for each in wrong]
        assert {(each["code"], each["text"], each["fatal"]) for each in answers} == {
            ("bad_login", "the name or the password, or what stands for it, is wrong", True)
        }
        trail = node.people.directory.trail.entries(0, 100)
        assert len(trail) == len(wrong)


def test_name_of_an_account_is_taken() -> None:
    """A guest cannot have it, nor a name that looks like it; a client of 1.2 reads one line."""
    with with_ada() as running:
        for name in ("ada", "ADA"):
            refused = answer(running.nodes[0], hello(name, protocol="1.2"))
            assert refused == {
                "type": "error",
                "code": "name_taken",
                "text": f"the name {name} is taken: {name}2 is free",
                "fatal": True,
                "name": f"{name}2",
            }


def test_guests_may_be_refused() -> None:
    """Without guests, an account comes in and nobody else."""
    with with_ada(guests=False) as running:
        node = running.nodes[0]
        assert answer(node, hello("bob"))["code"] == "no_guests"
        assert answer(node, hello("bob", observer=True))["code"] == "no_guests"
        assert answer(node, hello("ada", password=PASSWORD))["type"] == "welcome"


def test_guests_default_to_loopback() -> None:
    """A node that listens elsewhere takes no guests unless it is told to."""
    with cluster(0) as running:
        inside = running.add_node("n1")
        outside = running.add_node("n2", listen="0.0.0.0:0")
        told = running.add_node("n3", listen="0.0.0.0:0", guests=True)
        codes = [answer(node, hello("bob", observer=True)).get("code") for node in (inside, outside, told)]
        assert codes == [None, "no_guests", None]


def test_wrong_passwords_are_slowed() -> None:
    """After some failures the next attempt has to wait, on another node, too, and with the right password."""
    with with_ada(2) as running:
        codes = [answer(running.nodes[n % 2], hello("ada", password=f"guess {n}"))["code"] for n in range(12)]
        assert codes[0] == "bad_login"
        assert codes[-1] == "too_many_logins"
        slowed = answer(running.nodes[0], hello("ada", password=PASSWORD))
        assert slowed["code"] == "too_many_logins"
        assert slowed["retry_after"] > 0
        token = running.nodes[1].people.directory.tokens.make("ada", "phone")
        assert answer(running.nodes[0], hello("ada", token=token))["type"] == "welcome"


def test_bans_of_the_cluster() -> None:
    """Whoever is banned by name, pattern or address is told so, signed in or not; a timed ban tells when it ends."""
    with with_ada() as running:
        node = running.nodes[0]
        bans = node.people.directory.bans
        assert answer(node, hello("spammer7"))["type"] == "welcome"
        bans.add("spam*", "root", "go away")
        bans.add("ada", "root", ends=node.people.directory.store.now() + 60_000)
        refused = answer(node, hello("SpamMer8"))
        assert (refused["code"], refused["text"]) == ("banned", "root has banned spam* from this cluster: go away")
        assert "retry_after" not in refused
        assert 0 < answer(node, hello("ada", password=PASSWORD))["retry_after"] <= 60
        assert answer(node, hello("bob"))["type"] == "welcome"
        code = node.people.directory.invitations.make("", 1, 2**50)
        assert answer(node, hello("spammer9", password=PASSWORD, invitation=code))["code"] == "banned"
        assert answer(node, hello("cyd", password=PASSWORD, invitation=code))["type"] == "welcome"
        bans.add("127.0.0.0/8", "root")
        assert answer(node, hello("bob"))["code"] == "banned"


def test_disabled_account() -> None:
    """Only somebody who knows the password learns that the account is disabled."""
    with with_ada() as running:
        node = running.nodes[0]
        node.people.directory.accounts.change("ada", disabled=True)
        assert answer(node, hello("ada", password="a guess"))["code"] == "bad_login"
        assert answer(node, hello("ada", password=PASSWORD))["code"] == "disabled"


def test_name_of_a_removed_account() -> None:
    """Nobody comes in under it, with whatever proof, nor registers it; the refusal says why and offers a free name."""
    with with_ada(2, registration="open") as running:
        directory = running.nodes[0].people.directory
        token = directory.tokens.make("ada", "laptop")
        directory.accounts.remove("ada")
        node = running.nodes[1]
        cases: list[tuple[str, dict[str, str]]] = [
            ("ada", {}),
            ("ADA", {}),
            ("Ada", {"password": PASSWORD, "invitation": "any"}),
        ]
        for name, fields in cases:
            refused = answer(node, hello(name, **fields))
            assert (refused["code"], refused["name"]) == ("name_taken", f"{name}2")
            why = f"the name {name} stays reserved, as the account ada was removed: {name}2 is free"
            assert refused["text"] == why
        assert answer(node, hello("ada", password=PASSWORD))["code"] == "bad_login"
        assert answer(node, hello("ada", token=token))["code"] == "bad_login"


def test_directory_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes in, and is told so in one line; those who are in chat on. Afterwards all is as before."""

    def fail(*_: object, **__: object) -> None:
        raise DirectoryError("the directory does not answer: try again in a moment")

    with with_ada() as running, running.clients("bob", "eve", room="lobby") as (bob, eve):
        node = running.nodes[0]
        with monkeypatch.context() as failing:
            for method in ("get", "put", "delete", "keys"):
                failing.setattr(MemoryStore, method, fail)
            for line in (
                hello("cyd"),
                hello("ada", password=PASSWORD),
                hello("ada", token="x"),
                plain("ada", PASSWORD),
            ):
                refused = answer(node, line)
                assert (refused["code"], refused["retry_after"]) == ("unavailable", 1.0)
                assert refused["text"] == "the directory does not answer: try again in a moment"
            bob.say("lobby", "are you still there?")
            assert texts(eve, 1) == ["are you still there?"]
            eve.send(Bye())
            eventually(lambda: node.clients.clients == 1)
        assert answer(node, hello("ada", password=PASSWORD))["type"] == "welcome"
        eventually(lambda: answer(node, hello("eve")).get("type") == "welcome", what="her name is free")


# --- SASL -----------------------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    """Return data as `auth` carries it."""
    return base64.b64encode(data).decode()


def auth(mechanism: str, data: bytes = b"") -> dict[str, str]:
    """Return a step of a sign-in as a line."""
    return {"type": "auth", "mechanism": mechanism, "data": b64(data)}


def plain(name: str, password: str) -> dict[str, str]:
    """Return a sign-in by PLAIN as a line."""
    return auth("PLAIN", f"\0{name}\0{password}".encode())


def test_plain() -> None:
    """The sign-in comes before the hello, which must have the same name."""
    with with_ada() as running:
        node = running.nodes[0]
        with netcat(node) as ada:
            ada.send(plain("ada", PASSWORD))
            assert ada.read() == {"type": "challenge", "done": True}
            ada.send(hello("ada"))
            assert ada.read()["account"] == "ada"
            ada.send(plain("ada", PASSWORD))
            assert ada.read()["code"] == "again"
        with netcat(node) as ada:
            ada.send(plain("ada", PASSWORD), hello("bob"))
            assert ada.read()["type"] == "challenge"
            assert ada.read()["code"] == "bad_login"


def scram(nc: Netcat, name: str, password: str) -> tuple[dict[str, Any], bytes]:
    """Sign in by SCRAM; return the node's last answer and the server's proof that it should have."""
    first = f"n={name},r=fyko+d2lbbFgONRv9qkxdawL".encode()
    nc.send(auth("SCRAM-SHA-256", b"n,," + first))
    challenge = base64.b64decode(nc.read()["data"])
    final, expected = proof(password, first, challenge)
    nc.send({"type": "auth", "data": b64(final)})
    return nc.read(), expected


def test_scram() -> None:
    """The client proves that it knows the password, and the node that it has it; the password is not sent."""
    with with_ada() as running, netcat(running.nodes[0]) as ada:
        last, expected = scram(ada, "ada", PASSWORD)
        assert last == {"type": "challenge", "data": b64(expected), "done": True}
        ada.send(hello("ada"))
        assert ada.read()["account"] == "ada"


@pytest.mark.parametrize(("binding", "nonce"), [("eSws", ""), ("biws", "x"), ("", "")])
def test_last_message_of_scram_belongs_to_the_first(binding: str, nonce: str) -> None:
    """Its header and its nonce are those of this exchange, so nobody in between can take a binding away."""
    exchange = Scram(b"n,,n=ada,r=abc")
    seen = scram_fields(exchange.challenge(b"salt", 4096))["r"]
    with pytest.raises(UsageError, match="does not belong"):
        exchange.verify(f"c={binding},r={seen}{nonce},p=AAAA".encode(), None)
    assert exchange.verify(f"c=biws,r={seen},p=AAAA".encode(), None) is None


def test_scram_tells_nothing() -> None:
    """A name without an account has a salt too, the same each time and on each node; and the refusal is the same."""
    with with_ada(2) as running:
        salts: dict[str, set[str]] = {"ada": set(), "nobody": set(), "ghost": set()}
        shapes: set[tuple[int, str]] = set()
        for name, seen in salts.items():
            for node in running.nodes * 2:
                with netcat(node) as nc:
                    nc.send(auth("SCRAM-SHA-256", f"n,,n={name},r=abc".encode()))
                    fields = scram_fields(base64.b64decode(nc.read()["data"]))
                    seen.add(fields["s"])
                    shapes.add((len(fields["s"]), fields["i"]))
        assert [len(seen) for seen in salts.values()] == [1, 1, 1]
        assert len(shapes) == 1
        assert salts["nobody"] != salts["ghost"]
        refusals = []
        for name in ("ada", "nobody"):
            with netcat(running.nodes[0]) as nc:
                refusals.append(scram(nc, name, "a guess")[0])
        assert refusals[0] == refusals[1]
        assert refusals[0]["code"] == "bad_login"


def test_refused_exchange_can_begin_again() -> None:
    """A refusal ends the sign-in, not the connection; but the third one does."""
    with with_ada() as running, netcat(running.nodes[0]) as ada:
        ada.send(auth("EXTERNAL"))
        external = ada.read()
        assert external["code"] == "bad_mechanism"
        assert "TLS" in external["text"]
        ada.send(plain("ada", "a guess"), {"type": "ping"})
        assert (ada.read()["code"], ada.read()["code"]) == ("bad_login", "no_hello")
        ada.send(plain("ada", PASSWORD))
        assert ada.read()["done"]
        ada.send(auth("PLAIN", b"nonsense"))
        last = ada.read()
        assert (last["code"], last["fatal"]) == ("bad_request", True)
        assert ada.read() == {}


@pytest.mark.parametrize(
    ("mechanism", "steps"),
    [
        ("DIGEST-MD5", [b"x"]),
        ("SCRAM-SHA-256", [b"p=tls-unique,,n=ada,r=abc"]),
        ("SCRAM-SHA-256", [b"n,a=bob,n=ada,r=abc"]),
        ("SCRAM-SHA-256", [b"n,,n=ada"]),
        ("SCRAM-SHA-256", [b"\xff"]),
        ("SCRAM-SHA-256", [b"n,,n=ada,r=abc", b"c=biws,r=abc,p=AAAA"]),
        ("SCRAM-SHA-256", [b"n,,n=ada,r=abc", b""]),
        ("PLAIN", [b"bob\0ada\0correct horse"]),
        ("PLAIN", [b"\0ada"]),
        ("PLAIN", [b"\0two words\0correct horse"]),
        ("SCRAM-SHA-256", [b"n,,n=\xe2\x80\x8bada,r=abc"]),
    ],
)
def test_hostile_exchange_is_refused(mechanism: str, steps: list[bytes]) -> None:
    """Nobody comes in by a message that is not of its mechanism, and each is answered."""
    with with_ada() as running, netcat(running.nodes[0]) as nc:
        last: dict[str, Any] = {}
        for number, step in enumerate(steps):
            nc.send(auth(mechanism if number == 0 else "", step))
            last = nc.read()
        assert last["type"] == "error" or not last.get("done"), last
        nc.send(hello("ada"))
        assert nc.read()["type"] == "error"


def test_steps_are_counted() -> None:
    """A client that begins again and again is cut off, since each step may ask the directory."""
    with with_ada() as running, netcat(running.nodes[0]) as nc:
        nc.send(*[auth("SCRAM-SHA-256", b"n,,n=ada,r=abc")] * 100)
        answers = []
        while told := nc.read():
            answers.append(told)
        assert 10 < len(answers) < 100
        assert (answers[-1]["code"], answers[-1]["fatal"]) == ("too_many_logins", True)


def test_frames_sign_in_by_sasl() -> None:
    """The same exchange in frames."""
    with with_ada() as running, RawClient.unwelcomed(running.nodes[0].address) as client:
        client.send(Auth("PLAIN", b64(b"\0ada\0" + PASSWORD.encode())), Hello("ada", protocol=PROTOCOL))
        assert client.get(Challenge).done
        assert client.get(Welcome).account == "ada"


def test_two_devices() -> None:
    """Both get everything, also what the other one says; people see one ada; and one device edits for the other."""
    with with_ada(2) as running, running.clients("bob", room="lobby") as (bob,):
        first = RawClient(running.address, "ada", "n1", password=PASSWORD)
        second = RawClient(running.address, "ada", "n2", password=PASSWORD)
        with first, second:
            for device in (first, second):
                device.join("lobby")
            assert first.session != second.session
            first.say("lobby", "from the desk")
            second.say("lobby", "from the train")
            for each in (first, second, bob):
                assert sorted(texts(each, 2)) == ["from the desk", "from the train"]
            second.post("lobby", "from a train", "edit", offset_of(running, "from the desk"))
            assert texts(bob, 1) == ["from a train"]
            node = running.nodes[1]
            eventually(lambda: members_of(node, "lobby") == ["ada", "bob"])


def offset_of(running: Cluster, text: str) -> int:
    """Return the offset of the record with this text."""
    found = running.nodes[0].log.read("lobby", 0, 10)
    return next(message.offset for message in found if message.text == text)


def members_of(node: Node, room: str) -> list[str]:
    """Return the names that a node shows in a room."""
    with netcat(node) as nc:
        nc.send(hello("watcher", observer=True), {"type": "join", "room": room})
        names: list[str] = nc.get("members")["names"]
        return names
