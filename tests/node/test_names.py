"""Names of guests: one holder across the cluster, from hello until the guest is gone for good."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from parlour.directory.names import LEASE, RENEWAL, NameTakenError
from parlour.directory.passwords import make_password
from parlour.directory.store import DirectoryError
from parlour.node import Node, NodeSettings
from parlour.node.people.leases import Leases
from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.threads import join_all, spawn
from parlour.wire.asks import Answer, Ask
from parlour.wire.messages import Error, Members, Message, Move, Presence, Who
from support.accounts import people
from support.cluster import Cluster, RawClient, cluster
from support.netcat import netcat
from support.redis_server import MISSING, redis_server
from support.waiting import MS, eventually

QUICK = NodeSettings(presence_interval=50 * MS, grace=0.3)


def welcomed(node: Node, name: str, **fields: object) -> bool:
    """Say hello and go; return whether the node let the client in."""
    with netcat(node) as nc:
        nc.send({"type": "hello", "name": name, **fields}, {"type": "bye"})
        answer = nc.read()
        if answer["type"] == "welcome":
            while nc.read():
                pass
            return True
        assert answer["code"] == "name_taken", answer
        return False


def test_one_holder() -> None:
    """Nobody else has the name, on whichever node, nor one that looks like it, until its holder says bye."""
    with cluster(2) as running, netcat(running.nodes[0]) as ada:
        ada.send({"type": "hello", "name": "ada"})
        assert ada.read()["name"] == "ada"
        for node in running.nodes:
            assert not welcomed(node, "ada")
            assert not welcomed(node, "ADA")
            assert welcomed(node, "ada2")
        ada.send({"type": "bye"})
        assert ada.read() == {}
        assert all(welcomed(node, "ada") for node in running.nodes)


def test_observers_hold_no_name() -> None:
    """Any number of them may listen under a name, also one that somebody has."""
    with cluster(2) as running, running.clients("ada"):
        for node in running.nodes:
            with netcat(node) as first, netcat(node) as second:
                for nc in (first, second):
                    nc.send({"type": "hello", "name": "ada", "observer": True})
                    assert nc.read()["type"] == "welcome"


def test_name_survives_a_lost_connection() -> None:
    """With its key the holder comes back under its name, to any node; others may have it after the grace period."""
    with cluster(2, QUICK) as running:
        for node in (*running.nodes, running.nodes[0]):
            with netcat(node) as ada:
                ada.send({"type": "hello", "name": "ada", "key": "a secret"})
                assert ada.read()["type"] == "welcome"
            assert not welcomed(running.nodes[0], "ada")
        eventually(lambda: welcomed(running.nodes[0], "ada"))


def test_name_without_a_key_ends_with_its_connection() -> None:
    """Nobody can come back to such a session, so its name is free at once."""
    with cluster() as running:
        with netcat(running.nodes[0]) as ci:
            ci.send({"type": "hello", "name": "ci"})
            assert ci.read()["type"] == "welcome"
        eventually(lambda: welcomed(running.nodes[0], "ci"))


def test_name_survives_a_move() -> None:
    """While a client is on two nodes, and after it has left the first one, the name is its own."""
    with cluster(2, QUICK) as running:
        first, second = running.nodes
        with RawClient(running.address, "ada", "n1", key="a secret") as old:
            spawning = spawn("drain", first.drain, 5.0)
            move = old.get(Move)
            with old.follow(move, "a secret") as new:
                assert new.session == old.session
                old.close()
                join_all([spawning], 10.0)
                # Longer than the grace period of the node that the client has left.
                new.socket.settimeout(3 * QUICK.grace)
                with pytest.raises(TimeoutError):
                    new.get(Error)
                assert not welcomed(second, "ada")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_race_for_a_name(tmp_path: Path) -> None:
    """Of 200 clients that want one name at the same time, on three nodes and Redis, exactly one gets it."""
    with redis_server(tmp_path) as server, cluster(3, NodeSettings(log=server.url)) as running:
        race(running, clients=200)


def race(running: Cluster, clients: int) -> None:
    """Have clients race for one name; each that does not get it is offered a free one."""
    won: list[str] = []
    lost: list[str] = []
    ready = threading.Barrier(clients)
    done = threading.Event()

    def run(number: int) -> None:
        with netcat(running.nodes[number % len(running.nodes)]) as nc:
            ready.wait(30)
            nc.send({"type": "hello", "name": "ada"})
            answer = nc.read()
            if answer["type"] == "welcome":
                won.append(answer["session"])
                done.wait(60)
            else:
                lost.append(answer["name"])

    threads = [spawn(f"racer-{number}", run, number) for number in range(clients)]
    eventually(lambda: len(won) + len(lost) == clients, timeout=60)
    done.set()
    join_all(threads, 30)
    assert len(won) == 1
    assert set(lost) == {"ada2"}


# --- another name ---------------------------------------------------------------------------------------------


def nick(client: RawClient, name: str) -> Answer | Error:
    """Ask for another name."""
    client.send(Ask(7, "nick", {"name": name}))
    while True:
        for message in client.heard:
            if isinstance(message, Answer | Error):
                client.heard.remove(message)
                return message
        client.read()


def test_guest_takes_another_name() -> None:
    """It has the new name in all its rooms, on all nodes, and the old one is free."""
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        for room in ("lobby", "games"):
            ada.join(room)
        bob.join("games")
        bob.send(Who("games"))
        assert nick(ada, "eve").ask == 7
        told = bob.get(Presence)
        while "eve" not in told.joined:
            told = bob.get(Presence)
        assert told.left == ["ada"]
        for room in ("lobby", "games"):
            ada.send(Who(room))
            while "eve" not in ada.get(Members).names:
                pass
        ada.say("games", "who am I?")
        assert bob.texts(1) == ["who am I?"]
        assert all(welcomed(node, "ada") for node in running.nodes)
        assert not any(welcomed(node, "eve") for node in running.nodes)
        refused = nick(ada, "bob")
        assert isinstance(refused, Error)
        assert (refused.code, refused.name, refused.ask) == ("name_taken", "bob2", 7)
        assert nick(ada, "EVE").ask == 7
        assert not welcomed(running.nodes[0], "eve")


# --- a directory that fails -----------------------------------------------------------------------------------


class Names:
    """Stands in for the directory's names, which can be made to fail, and to lose the leases of this node."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.alive = False
        self.failing = False

    def _check(self) -> None:
        if self.failing:
            raise DirectoryError("the directory does not answer: try again later")

    def take(self, name: str, session: str, instance: str, address: str = "") -> None:
        """Take a name."""
        self._check()
        if self.taken.setdefault(name, session) != session:
            raise NameTakenError(name, f"{name}2")

    def release(self, name: str, session: str, instance: str) -> None:
        """Release a name."""
        self._check()
        if self.taken.get(name) == session:
            del self.taken[name]

    def renew(self, instance: str) -> bool:
        """Renew the leases."""
        self._check()
        alive, self.alive = self.alive, True
        return alive


@pytest.fixture
def quick_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have leases renewed often, and a failed directory asked again soon."""
    monkeypatch.setattr("parlour.node.people.leases.RENEWAL", 0.05)
    monkeypatch.setattr("parlour.node.people.leases.RETRY", 0.05)


def leases(names: Names, lost: list[Any]) -> Leases:
    """Return leases on these names."""
    return Leases("leases", names, "i", lambda session, refusal: lost.append((session, refusal.name)))  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick_renewal")
def test_guest_does_not_escape_by_another_name() -> None:
    """Where it is muted its name stays, on whichever node that was said; out of that room it may take another."""
    with cluster(2) as running, people(running, "ada", room="lobby") as (ada,), netcat(running.nodes[1]) as bob:
        running.nodes[0].people.directory.accounts.add("root", make_password("secret"), operator=True)
        bob.send({"type": "hello", "name": "bob"}, {"type": "join", "room": "lobby"}, {"type": "join", "room": "other"})
        bob.get("members")
        bob.get("members")

        def answer(name: str) -> dict[str, Any]:
            bob.send({"type": "ask", "id": 7, "what": "nick", "data": {"name": name}})
            while (told := bob.read())["type"] != "answer" and told.get("ask") != 7:
                pass
            return told

        def moderate(kind: str) -> None:
            ada.post("lobby", "", kind, who="bob")
            while ada.get(Message).kind != kind:
                pass

        moderate("mute")
        refused = answer("rob")
        assert (refused["code"], refused["text"]) == ("forbidden", "you are muted in lobby: a guest's name stays then")
        moderate("unmute")
        assert answer("rob")["data"]["name"] == "rob"
        assert answer("bob")["data"]["name"] == "bob"
        moderate("mute")
        assert answer("rob")["code"] == "forbidden"
        bob.send({"type": "leave", "room": "lobby"})
        assert answer("rob")["data"]["name"] == "rob"
        with netcat(running.nodes[0]) as root:  # a ban of the address is left then, which operators of the cluster see
            for asker, seen in ((root, "127.0.0.1"), (bob, None)):
                if asker is root:
                    root.send({"type": "hello", "name": "root", "password": "secret"})
                asker.send({"type": "ask", "id": 8, "what": "whois", "data": {"name": "rob"}})
                assert asker.get("answer")["data"].get("address") == seen


def test_late_renewal_takes_names_again() -> None:
    """A node that could not renew in time takes its names again, also if the directory fails once more meanwhile."""
    names, lost = Names(), list[Any]()
    with ExitStack() as closing:
        held = leases(names, lost)
        held.start()
        closing.callback(held.stop)
        held.take("ada", "s1", "")
        held.take("bob", "s2", "")
        names.failing = True
        names.taken, names.alive = {"bob": "another"}, False
        names.failing = False
        eventually(lambda: names.taken == {"ada": "s1", "bob": "another"})
        assert lost == [("s2", "bob2")]
        held.leave("ada", "s1", 0.1)
        eventually(lambda: names.taken == {"bob": "another"})


@pytest.mark.usefixtures("quick_renewal")
def test_release_waits_for_the_directory() -> None:
    """A name that could not be released is released when the directory answers again."""
    names = Names()
    with ExitStack() as closing:
        held = leases(names, [])
        held.start()
        closing.callback(held.stop)
        held.take("ada", "s1", "")
        names.failing = True
        held.leave("ada", "s1", 0.0)
        assert names.taken
        with pytest.raises(DirectoryError):
            held.take("bob", "s2", "")
        names.failing = False
        eventually(lambda: not names.taken)
        held.take("ada", "s3", "")
        with pytest.raises(RefusedClientError):
            held.take("ada", "s4", "")


def test_renewal_is_in_time() -> None:
    """A lease outlives two renewals that fail."""
    assert LEASE >= 3 * RENEWAL
