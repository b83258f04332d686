"""Records in a room: the rights to edit and delete, and deleted texts, which no node keeps in memory."""

from __future__ import annotations

import pytest

from parlour.dialects import JSON
from parlour.node import NodeSettings
from parlour.node.rooms.batch import Batch
from parlour.node.rooms.ring import Ring
from parlour.wire.codec import frames, messages_of
from parlour.wire.messages import Accepted, Error, History, Message, Page, Say
from parlour.wire.records import GONE, GONE_TEXT
from support.cluster import Cluster, RawClient, cluster
from support.waiting import eventually


def rings(running: Cluster) -> list[str]:
    """Return all texts that any node keeps in memory for the lobby."""
    texts: list[str] = []
    for node in running.nodes:
        room = node.rooms.get("lobby")
        assert room is not None
        texts += [message.text for message in room._timeline._ring.messages()]
    return texts


def outcome(client: RawClient) -> Message | str:
    """Return the next record, or the code of an error that came instead."""
    while True:
        for heard in client.heard:
            if isinstance(heard, Message | Error):
                client.heard.remove(heard)
                return heard.code if isinstance(heard, Error) else heard
        client.read()


@pytest.mark.parametrize("lines", [False, True])
def test_record_fields_come_back(lines: bool) -> None:
    """All members get kind, reference and data unchanged, live and in history."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby", mixed=lines) as (ada, bob):
        ada.say("lobby", "hello")
        ada.post("lobby", "waves", "action")
        ada.post("lobby", "yes", ref=1, colour="red")
        for client in (ada, bob):
            said = [client.get(Message) for _ in range(3)]
            assert [(each.text, each.kind, each.ref, each.data) for each in said] == [
                ("hello", "", 0, {}),
                ("waves", "action", 0, {}),
                ("yes", "", 1, {"colour": "red"}),
            ]
            client.send(History("lobby"))
            assert client.get(Page).messages == said


def test_rights_to_edit_and_delete() -> None:
    """Guests may edit and delete their own texts alone; all may react to a record that is not deleted."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "hello")
        for client in (ada, bob):
            client.get(Message)
        for kind, code in (("edit", "bad_ref"), ("redact", "forbidden")):
            bob.post("lobby", "mine", kind, 1, moderator=True)
            assert outcome(bob) == code
        for kind in ("edit", "redact", "react"):
            ada.post("lobby", "x", kind, 99)
            assert outcome(ada) == "bad_ref"
        for kind in ("pin", GONE):
            ada.post("lobby", "x", kind, 1)
            assert outcome(ada) == "bad_kind"
        bob.post("lobby", "👍", "react", 1)
        ada.get(Message)
        reaction = bob.get(Message)
        bob.post("lobby", "👎", "edit", reaction.offset)
        assert outcome(bob) == "bad_ref", "a reaction cannot be edited"
        bob.post("lobby", "taken back", "redact", reaction.offset)
        deletion = bob.get(Message)
        bob.post("lobby", "taken back", "redact", deletion.offset)
        assert outcome(bob) == "bad_ref"
        ada.get(Message)
        ada.post("lobby", "deleted", "redact", 1)
        assert isinstance(outcome(ada), Message)
        ada.post("lobby", "again", "edit", 1)
        assert outcome(ada) == "bad_ref", "a deleted record cannot be edited"
        bob.get(Message)
        bob.post("lobby", "👍", "react", 1)
        assert outcome(bob) == "bad_ref"


def test_author_may_delete_after_a_reconnect() -> None:
    """Every node knows the author by its key."""
    with cluster(2) as running:
        with RawClient(running.address, "ada", "n1", key="secret") as ada:
            ada.join("lobby")
            ada.say("lobby", "hello")
            ada.get(Message)
        with RawClient(running.address, "ada", "n2", key="secret") as ada:
            ada.join("lobby")
            ada._said = 1
            ada.post("lobby", "deleted", "redact", 1)
            assert isinstance(outcome(ada), Message)


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_deleted_text_is_gone_everywhere(loss: float) -> None:
    """Its edits, too: rings, pages and history lack the text, even if the relay loses every batch."""
    with (
        cluster(3, NodeSettings(relay_loss=loss)) as running,
        running.clients("ada", "bob", "cy", room="lobby", mixed=True) as clients,
    ):
        ada = clients[0]
        ada.say("lobby", "before", "secret one")
        ada.post("lobby", "secret two", "edit", 2)
        ada.say("lobby", "after")
        for client in clients:
            assert [client.get(Message).offset for _ in range(4)] == [1, 2, 3, 4]
        ada.post("lobby", "(deleted a message)", "redact", 2)
        for client in clients:
            assert client.get(Message).ref == 2
        eventually(lambda: not any("secret" in text for text in rings(running)), what="no ring has the text")
        assert "before" in rings(running)
        for number, node in enumerate(running.nodes):
            with RawClient(running.address, f"newcomer-{number}", node.name, lines=number == 1) as newcomer:
                newcomer.join("lobby", history=10)
                shown = [newcomer.get(Message) for _ in range(5)]
                texts = ["before", GONE_TEXT, GONE_TEXT, "after", "(deleted a message)"]
                assert [each.text for each in shown] == texts
                assert [each.kind for each in shown] == ["", GONE, GONE, "", "redact"]
                newcomer.send(History("lobby"))
                assert newcomer.get(Page).messages == shown


def test_ring_forgets_encodings_of_deleted_records() -> None:
    """A deletion replaces the batch, and the ring keeps no reference to the old one."""
    ring = Ring(10_000, 0)
    said = [Message("lobby", number, f"s-{number}", "ada", 5, f"text {number}") for number in (1, 2)]
    said.append(Message("lobby", 3, "s-3", "ada", 5, "text 3", "edit", 1))
    ring.add(Batch(1, 2, frames(said[:2])))
    ring.add(Batch(3, 3, frames(said[2:])))
    assert b"text 1" in ring._batches[0].data(JSON)
    ring.note(ring._batches)
    ring.delete(1)
    assert not ring._encoded
    assert not ring._extra
    assert [message.text for message in ring.messages()] == [GONE_TEXT, "text 2", GONE_TEXT]
    assert [(batch.first, batch.last) for batch in ring._batches] == [(1, 2), (3, 3)]
    assert ring._bytes == sum(len(batch.frames) for batch in ring._batches)
    assert messages_of(ring._batches[0].frames)[0].id == "s-1"
    ring.delete(99)
    assert len(ring.messages()) == 3


def test_repeated_changes_are_accepted_though_the_record_is_gone() -> None:
    """An edit or a reaction that is sent again was logged, whatever became of its record since."""
    with cluster(2) as running, running.clients("ada", "bob", room="lobby") as (ada, bob):
        ada.say("lobby", "hello")
        for client in (ada, bob):
            client.get(Message)
        ada.post("lobby", "hi", "edit", 1)
        bob.post("lobby", "👍", "react", 1)
        offsets = {message.id: message.offset for message in (ada.get(Message) for _ in range(2))}
        ada.post("lobby", "deleted", "redact", 1)
        for client, session, number, kind in ((ada, ada.session, 2, "edit"), (bob, bob.session, 1, "react")):
            while client.get(Message).kind != "redact":
                pass
            client.send(Say("lobby", number, "x", kind, 1))
            assert client.get(Accepted).offset == offsets[f"{session}-{number}"]
        bob.post("lobby", "👍", "react", 1)
        assert outcome(bob) == "bad_ref"


def test_repeated_deletion_is_accepted() -> None:
    """A client that got no answer may repeat the deletion, although its target is gone by now."""
    with cluster(1) as running, running.clients("ada", room="lobby") as (ada,):
        ada.say("lobby", "hello")
        assert ada.get(Message).offset == 1
        ada.post("lobby", "deleted", "redact", 1)
        assert ada.get(Message).offset == 2
        ada._said -= 1
        ada.post("lobby", "deleted", "redact", 1)
        ada.say("lobby", "next")
        assert ada.get(Message).offset == 3
