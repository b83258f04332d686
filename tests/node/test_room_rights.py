"""Rights in rooms on several nodes: who founds a room, who is refused, who is shown out and who may come in."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from parlour.node import NodeSettings
from parlour.node.log import StaleStateError, StateVersion
from parlour.wire.messages import Accepted, Error, Join, Joined, Leave, Left, Members, Message, Say, Who
from support.accounts import people
from support.cluster import Cluster, RawClient, cluster
from support.waiting import MS, eventually, poll

ROOM = "lobby"


def outcome(client: RawClient, number: int) -> Message | Error:
    """Return the record of a client's own post, or the error that came instead."""
    while True:
        for message in client.heard:
            if isinstance(message, Message) and message.id == f"{client.session}-{number}":
                return message
            if isinstance(message, Error) and message.id == number:
                return message
        client.read()


def change(client: RawClient, kind: str, text: str = "", **data: Any) -> str:
    """Post a state record; return "" or the code of the error."""
    found = outcome(client, client.post(ROOM, text, kind, **data))
    return found.code if isinstance(found, Error) else ""


def refusal(client: RawClient, text: str, kind: str, ref: int) -> Error:
    """Post a record about another one, and return the error that comes instead of it."""
    found = outcome(client, client.post(ROOM, text, kind, ref))
    assert isinstance(found, Error)
    return found


def join(client: RawClient, **fields: Any) -> str:
    """Try to join; return "" or the code of the error."""
    client.heard.clear()
    client.send(Join(ROOM, **fields))
    while True:
        client.read()
        for message in client.heard:
            if isinstance(message, Joined):
                return ""
            if isinstance(message, Error):
                return message.code


def shown_out(client: RawClient) -> list[str]:
    """Return the texts that a client heard before it was shown out, and the code of that."""
    heard: list[str] = []
    while True:
        while client.heard:
            message = client.heard.pop(0)
            if isinstance(message, Message):
                heard.append(message.text)
            elif isinstance(message, Error):
                heard.append(message.code)
            elif isinstance(message, Left):
                return heard
        client.read()


def await_live(running: Cluster) -> None:
    """Wait until no member lags: one that has just joined may still do, and then goes without what it had not read."""
    rooms = [room for node in running.nodes if (room := node.rooms.get(ROOM)) is not None]
    eventually(lambda: not any(member.subscriber.lagging for room in rooms for member in room._members))


def names(client: RawClient) -> list[str]:
    """Return the names in the room, as the client's node knows them."""
    client.send(Who(ROOM))
    return client.get(Members).names


def test_the_first_account_in_a_new_room_owns_it() -> None:
    """It is a record as any other; nobody else can found the room then."""
    with cluster(2) as running, people(running, "ada", "bob") as (ada, bob):
        ada.join(ROOM)
        founded = ada.get(Message)
        assert (founded.offset, founded.kind, founded.by, founded.account) == (1, "role", "ada", "ada")
        bob.join(ROOM, history=10)
        assert bob.get(Message) == founded
        assert change(bob, "setting", name="moderated", value=True) == "forbidden"
        assert change(bob, "role", who="bob", role="owner", founding=True) == "forbidden"
        assert change(ada, "setting", name="moderated", value=True) == ""
        assert change(ada, "role", who="bob", role="operator") == ""
        assert change(bob, "setting", name="moderated", value=False) == ""


def test_two_nodes_found_a_room_once() -> None:
    """Of accounts that come at the same time, one owns the room, and the others are told nothing."""
    crowd = [f"p{number}" for number in range(9)]
    with cluster(3) as running, people(running, *crowd) as clients:
        for client in clients:
            client.send(Join(ROOM, history=10))
        for client in clients:
            client.get(Joined)
            client.say(ROOM, "here")
        for client in clients:
            heard = [client.get(Message) for _ in range(len(crowd) + 1)]
            assert [message.kind for message in heard].count("role") == 1
            assert not [message for message in client.heard if isinstance(message, Error | Accepted)]


def test_a_room_of_guests_has_no_owner() -> None:
    """Who speaks first founds nothing, and an account that comes later owns nothing."""
    with cluster(2) as running, people(running, "guest1", "ada") as (guest, ada):
        guest.join(ROOM)
        guest.say(ROOM, "hello")
        assert guest.get(Message).offset == 1
        ada.join(ROOM, history=10)
        ada.say(ROOM, "hello, too")
        assert ada.texts(2) == ["hello", "hello, too"]
        assert change(ada, "ban", who="guest1") == "forbidden"
        assert change(guest, "topic", "tea") == ""


def test_what_is_forbidden_is_not_logged() -> None:
    """The others of the batch are, in their order; the error names the post, and says who could help."""
    with cluster(2) as running, people(running, "ada", "bob", "eve") as (ada, bob, eve):
        for client in (ada, bob, eve):
            client.join(ROOM)
        assert change(ada, "mute", "noise", who="bob") == ""
        bob.post(ROOM, "hello")
        refused = bob.get(Error)
        assert (refused.code, refused.room, refused.id) == ("forbidden", ROOM, 1)
        assert "noise" in refused.text
        assert "ask ada" in refused.text
        eve.say(ROOM, "one", "two")
        while eve.get(Message).text != "two":
            pass
        assert change(ada, "unmute", who="bob") == ""
        bob.say(ROOM, "three")
        assert isinstance(outcome(bob, 2), Message), "the pardon holds on his node, too"
        logged = running.nodes[0].log.read(ROOM, 0, 100)
        assert [message.text for message in logged if not message.kind] == ["one", "two", "three"]


@pytest.mark.parametrize("loss", [0.0, 1.0], ids=["relay", "log"])
@pytest.mark.parametrize(("kind", "code"), [("kick", "kicked"), ("ban", "banned")])
def test_people_are_shown_out_at_their_place(loss: float, kind: str, code: str) -> None:
    """On every node, by relay or by repair: what follows the record is not for them, and the list lacks them."""
    settings = NodeSettings(relay_loss=loss, presence_interval=50 * MS)
    with cluster(2, settings) as running, people(running, "ada", "bob", "eve", "dan") as (ada, bob, eve, dan):
        for client in (ada, bob, eve, dan):
            client.join(ROOM)
        await_live(running)
        eventually(lambda: names(ada) == ["ada", "bob", "dan", "eve"])
        for who in (bob, eve):
            ada.send(
                Say(ROOM, ada.post(ROOM, "before") + 1, "", kind, data={"who": who.name}),
                Say(ROOM, ada._said + 2, "after"),
            )
            ada._said += 2
        for client in (bob, eve):
            heard = shown_out(client)
            assert heard[-1] == code
            assert "before" in heard
        eventually(lambda: names(ada) == names(dan) == ["ada", "dan"])
        heard_by_dan = [dan.get(Message).text for _ in range(6)]
        assert heard_by_dan[-1] == "after"
        bob.say(ROOM, "still here?")
        assert bob.get(Error).code == "not_joined"
        for client in (bob, eve):
            assert join(client) == ("" if kind == "kick" else "banned")
        if kind == "ban":
            assert change(ada, "unban", who="bob") == ""
            eventually(lambda: join(bob) == "")
            assert join(eve) == "banned"


def test_operators_delete_what_others_said(tmp_path: Path) -> None:
    """The text is gone from the log and all rings; the record says who did it, and the trail if by which right."""
    settings = NodeSettings(log=f"sqlite://{tmp_path}/log.sqlite")
    with cluster(2, settings) as running, people(running, "ada", "bob", "guest1", room=ROOM) as (ada, bob, guest):
        accounts, trail = running.nodes[0].people.directory.accounts, running.nodes[0].people.directory.trail
        assert change(ada, "role", who="bob", role="operator") == ""
        for client, texts in ((ada, ["owner's"]), (guest, ["rude", "ruder"])):
            for text in texts:
                assert isinstance(outcome(client, client.post(ROOM, text)), Message)
        assert isinstance(outcome(guest, guest.post(ROOM, "rudest", "edit", 4)), Message)
        for client, ref in ((guest, 3), (bob, 3)):
            refused = refusal(client, "(deleted)", "redact", ref)
            assert refused.code == "forbidden"
        assert refused.text == "you cannot delete what ada said, who has the role owner: ask ada"
        assert refusal(bob, "(deleted)", "redact", 1).code == "bad_ref", "acts stay"
        deleted = outcome(bob, bob.post(ROOM, "my own words", "redact", 4, moderator=7, own="data"))
        assert isinstance(deleted, Message)
        assert (deleted.by, deleted.ref, deleted.text) == ("bob", 4, "deleted a message of guest1")
        assert deleted.data == {"moderator": True, "who": "guest1", "account": ""}
        mine = outcome(bob, bob.post(ROOM, "oops"))
        assert isinstance(mine, Message)
        own = outcome(bob, bob.post(ROOM, "(deleted)", "redact", mine.offset, moderator=True, own="data"))
        assert isinstance(own, Message)
        assert (own.text, own.data) == ("(deleted)", {"own": "data"})
        assert trail.entries(0, 10) == []
        accounts.add("root", None, operator=True)
        with people(running, "root", room=ROOM) as (root,):
            done = outcome(root, root.post(ROOM, "(deleted)", "redact", 3))
            assert isinstance(done, Message)
            assert done.text == "deleted a message of ada (as an operator of the cluster)"
            assert done.data["cluster_operator"]
            assert change(root, "topic", "calm") == ""
        noted = [(entry.what, entry.by, entry.data["room"], entry.data["did"]) for entry in trail.entries(0, 10)]
        did = ["deleted a message of ada", "changed the topic to: calm"]
        assert noted == [("acted in a room", "root", ROOM, text) for text in did]
        for node in running.nodes:
            with people(running, f"guest{node.name}") as (newcomer,):
                newcomer.join(ROOM, history=20)
                gone = [newcomer.get(Message) for _ in range(6)]
                assert [each.kind for each in gone] == ["role", "role", "gone", "gone", "", "gone"]
        assert "rude" not in [record.text for record in running.nodes[0].log.read(ROOM, 0, 20)]


def test_an_operator_of_the_cluster_with_a_role() -> None:
    """What its role in the room allows bears no mark; what only the cluster's operators may do does."""
    with cluster(1) as running:
        running.nodes[0].people.directory.accounts.add("root", None, operator=True)
        with people(running, "ada", "root", room=ROOM) as (ada, root):
            texts: list[str] = []
            acts: list[tuple[str, dict[str, Any]]] = [
                ("mute", {"who": "eve"}),
                ("role", {"who": "ada", "role": "owner"}),
            ]
            for role in ("", "voice", "operator"):
                assert change(ada, "role", who="root", role=role) == ""
                for kind, data in acts:
                    done = outcome(root, root.post(ROOM, "", kind, **data))
                    assert isinstance(done, Message)
                    texts.append(done.text)
            mark = " (as an operator of the cluster)"
            assert texts == [
                f"muted eve{mark}",
                f"made ada the owner{mark}",
                f"muted eve{mark}",
                f"made ada the owner{mark}",
                "muted eve",
                f"made ada the owner{mark}",
            ]


def test_a_role_needs_an_account() -> None:
    """Nobody gets a role by a name that anybody may take; the record has the account's own spelling."""
    with cluster(1) as running, people(running, "ada", "Bob", "guest1", room=ROOM) as (ada, _, _):
        for who in ("guest1", "nobody"):
            refused = outcome(ada, ada.post(ROOM, "", "role", who=who, role="voice"))
            assert isinstance(refused, Error)
            assert (refused.code, refused.text.partition(":")[0]) == ("no_person", f"there is no account {who}")
        done = outcome(ada, ada.post(ROOM, "", "role", who="bob", role="voice"))
        assert isinstance(done, Message)
        assert (done.text, done.data["who"]) == ("gave voice to Bob", "Bob")
        running.nodes[0].people.directory.accounts.remove("Bob")
        assert change(ada, "role", who="Bob", role="") == ""
        assert change(ada, "role", who=["Bob"], role="voice") == "bad_kind"


def test_a_kick_needs_somebody() -> None:
    """Somebody who is not in the room cannot be shown out, and nothing is logged; one at another node can."""
    with cluster(2) as running, people(running, "ada", "bob", "cy") as (ada, bob, cy):
        for client in (ada, bob):
            client.join(ROOM)
        assert change(ada, "topic", "tea") == ""
        refused = outcome(ada, ada.post(ROOM, "", "kick", who="cy"))
        assert isinstance(refused, Error)
        assert (refused.code, refused.text) == (
            "no_person",
            "nobody in this room has the name cy: /who shows who is here",
        )
        eventually(lambda: names(ada) == ["ada", "bob"])
        assert change(ada, "kick", who="B0B") == ""
        cy.join(ROOM)
        eventually(lambda: names(ada) == ["ada", "cy"])
        assert change(ada, "kick", who="cy") == ""
        assert [record.kind for record in running.nodes[0].log.read(ROOM, 0, 10)] == ["role", "topic", "kick", "kick"]


def test_what_follows_a_kick_is_not_heard_by_the_kicked() -> None:
    """Though it came in one batch with it."""
    with cluster(1) as running, people(running, "ada", "bob") as (ada, bob):
        ada.join(ROOM)
        bob.join(ROOM)
        await_live(running)
        kick = Say(ROOM, 2, "", "kick", data={"who": "bob"})
        ada.send(Say(ROOM, 1, "before"), kick, Say(ROOM, 3, "after"), Say(ROOM, 4, "after"))
        assert shown_out(bob)[-3:] == ["before", "showed bob out", "kicked"]
        assert join(bob) == ""


def test_old_clients_are_shown_out() -> None:
    """A client of protocol 1.0 is told in words that it knows."""
    with cluster(2) as running, people(running, "ada") as (ada,), ExitStack() as stack:
        old = stack.enter_context(RawClient(running.address, "guest1", "n2", protocol="1.0"))
        ada.join(ROOM)
        old.join(ROOM)
        assert change(ada, "ban", "spam", who="guest*") == ""
        assert shown_out(old)[-1] == "banned"
        assert join(old) == "banned"


def test_who_may_come_in() -> None:
    """Each setting has an error of its own; those who are in stay, and the owner always comes in."""
    with cluster(2) as running, people(running, "ada", "guest1", "bob", "eve") as (ada, guest, bob, eve):
        ada.join(ROOM)

        def comes(client: RawClient, **fields: Any) -> str:
            code = join(client, **fields)
            if not code:
                client.send(Leave(ROOM))
                client.get(Left)
            return code

        assert change(ada, "setting", name="join", value="accounts") == ""
        eventually(lambda: comes(guest) == "accounts_only")
        assert change(ada, "setting", name="join", value="invited") == ""
        eventually(lambda: comes(bob) == "invite_only")
        assert change(ada, "invite", who="bob") == ""
        eventually(lambda: comes(bob) == "")
        assert change(ada, "setting", name="join", value="anyone") == ""
        assert change(ada, "setting", name="password", value="sesame") == ""
        eventually(lambda: comes(eve) == "bad_key")
        assert comes(eve, password="sesam") == "bad_key"
        assert comes(eve, password="sesame") == ""
        assert change(ada, "setting", name="password", value="") == ""
        assert change(ada, "setting", name="limit", value=1) == ""
        eventually(lambda: comes(guest) == "room_full")


def test_the_state_survives_all_nodes(tmp_path: Path) -> None:
    """A ban holds after a restart, also once nothing of the room is kept."""
    settings = NodeSettings(log=f"sqlite://{tmp_path}/log.sqlite")
    with cluster(1, settings) as running, people(running, "ada", "bob", room=ROOM) as (ada, bob):
        assert change(ada, "ban", who="bob") == ""
        assert shown_out(bob)[-1] == "banned"
        while running.nodes[0].log.trim(ROOM, 0, 2**50, 100):
            pass
    with cluster(1, settings) as running, people(running, "bob", "ada") as (bob, ada):
        assert join(bob) == "banned"
        ada.join(ROOM)
        assert change(ada, "topic", "tea") == ""


def test_a_state_that_changes_all_the_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node does not judge for ever: the sender is asked to come again."""
    with cluster(1) as running, people(running, "guest1", room=ROOM) as (guest,):
        calls: list[int] = []

        def append(*_: object) -> None:
            calls.append(1)
            raise StaleStateError(StateVersion("e", len(calls)), b"")

        with monkeypatch.context() as patched:
            patched.setattr(running.nodes[0].log, "append", append)
            guest.say(ROOM, "hello")
            refused = guest.get(Error)
        assert (refused.code, refused.retry_after) == ("busy", 1.0)
        guest.send(Say(ROOM, 1, "hello"))
        assert guest.texts(1) == ["hello"]


def test_a_slow_room_lets_members_post_now_and_then() -> None:
    """The first post of a burst is logged, the others may come later; the owner need not wait."""
    with cluster(2) as running, people(running, "ada", "bob", room=ROOM) as (ada, bob):
        assert change(ada, "setting", name="slow", value=1) == ""
        eventually(lambda: running.nodes[1].rooms.get(ROOM).state.settings.slow)  # type: ignore[union-attr]
        bob.say(ROOM, "one", "two")
        first, second = outcome(bob, 1), outcome(bob, 2)
        assert isinstance(first, Message)
        assert isinstance(second, Error)
        assert (second.code, second.retry_after) == ("slow", 1.0)
        bob.post(ROOM, "👍", "react", first.offset)
        assert isinstance(outcome(bob, 3), Message)
        poll(lambda: False, 1.1 / (1000 * MS))
        bob.send(Say(ROOM, 2, "two"))
        bob.heard.remove(second)
        assert isinstance(outcome(bob, 2), Message)
        ada.say(ROOM, "one", "two")
        numbers = ada._said - 1, ada._said
        assert all(isinstance(outcome(ada, number), Message) for number in numbers)


def test_people_come_back_to_a_room_that_was_closed() -> None:
    """A loss of the connection costs nobody the place; a full room takes the devices of those who are in it."""
    with cluster(2) as running, people(running, "ada", room=ROOM) as (ada,), ExitStack() as stack:
        bob = stack.enter_context(RawClient(running.address, "guest1", "n2", key="secret"))
        bob.join(ROOM)
        eventually(lambda: names(ada) == ["ada", "guest1"])
        assert change(ada, "setting", name="join", value="invited") == ""
        assert change(ada, "setting", name="limit", value=2) == ""
        bob.close()
        eventually(lambda: running.nodes[0].rooms.get(ROOM).state.settings.limit)  # type: ignore[union-attr]
        back = stack.enter_context(RawClient(running.address, "guest1", "n1", key="secret"))
        assert join(back) == ""
        other = stack.enter_context(RawClient(running.address, "guest2", "n1"))
        assert join(other) == "invite_only"
        assert change(ada, "setting", name="join", value="anyone") == ""
        assert join(other) == "room_full"
