"""Replies, edits, deletions and reactions by the library, on two nodes: the rights, and the results for all clients."""

from __future__ import annotations

import pytest

from parlour.client import Changed, Message, NodeError, Room, UsageError
from parlour.client.nodelink import NodeLink
from parlour.wire.messages import Welcome
from support.cluster import Cluster


def two(cluster: Cluster) -> tuple[Room, Room]:
    """Return one room for ada and for bob, whose chats are on different nodes."""
    ada, bob = cluster.chat("ada"), cluster.chat("bob")
    assert ada.node != bob.node
    return ada.join("lobby"), bob.join("lobby")


def heard(room: Room, last: Message) -> list[Message | Changed]:
    """Return the messages and changes up to this record."""
    events: list[Message | Changed] = []
    for event in room.events(10):
        if isinstance(event, Message | Changed):
            events.append(event)
            if last == (event if isinstance(event, Message) else event.record):
                return events
    raise AssertionError(f"{last} was not heard, but {events}")


def test_everybody_sees_the_same(cluster: Cluster) -> None:
    """A client that hears the changes, one that joins later and one that reads the history have the same messages."""
    here, there = two(cluster)
    hello, spam = here.say("helo"), here.say("spam")
    answer = there.reply(hello, "hi")
    here.edit(hello, "hello")
    there.react(hello, "👍")
    wow = there.react(hello, "wow")
    here.redact(spam)
    last = there.redact(wow)
    for room in (here, there):
        heard(room, last)
        deleted = room.message(spam.offset)
        assert deleted is not None
        assert (deleted.text, deleted.redacted) == ("(deleted)", True)
    assert answer.reply_to == hello.offset == 1
    late = cluster.chat("cyd").join("lobby", history=100)
    events = late.events(10)
    for _ in range(late.replays):
        next(events)
    for messages in (here.recent(), there.recent(), late.recent(), here.history(), there.history(limit=2)):
        assert [(m.text, m.edited, m.reactions, m.reply_to) for m in messages] == [
            ("hello", True, {"👍": ("bob",)}, None),
            ("hi", False, {}, 1),
        ]


def test_changes_are_no_messages(cluster: Cluster) -> None:
    """A bot that handles only Message would take an edit for a new message; each change comes as Changed."""
    here, there = two(cluster)
    hello = here.say("helo")
    edit, react = here.edit(hello, "hello"), there.react(hello.offset, "+1")
    redact = here.redact(hello)
    first, *changes = heard(there, redact)
    assert first == hello
    told = [change for change in changes if isinstance(change, Changed)]
    assert [change.record for change in told] == [edit, react, redact]
    assert [(c.room, c.before and c.before.text, c.message and c.message.text) for c in told] == [
        ("lobby", "helo", "hello"),
        ("lobby", "hello", "hello"),
        ("lobby", "hello", "(deleted)"),
    ]
    assert not any(change.record.replay for change in told)


def test_actions_notices_and_data_arrive(cluster: Cluster) -> None:
    """Other clients get the kind, the text and the data as they were posted."""
    here, there = two(cluster)
    sent = [here.say("waves", kind="action"), here.say("green", kind="notice", data={"build": 7, "ok": True})]
    assert [(m.kind, m.text, dict(m.data)) for m in sent] == [
        ("action", "waves", {}),
        ("notice", "green", {"build": 7, "ok": True}),
    ]
    assert heard(there, sent[-1]) == sent
    assert there.message(2) == sent[1]
    assert there.message(3) is None


def test_only_the_author_may_change_a_message(cluster: Cluster) -> None:
    """The node refuses in one line with a code, and the message stays as it is."""
    here, there = two(cluster)
    hello = here.say("hello")
    for room, ref, kind, code in (
        (there, hello, "edit", "bad_ref"),
        (there, hello, "redact", "forbidden"),  # an operator of the room may
        (here, 99, "edit", "bad_ref"),
    ):
        with pytest.raises(NodeError) as caught:
            room.say("bye", kind=kind, ref=ref)
        assert caught.value.code == code
        assert caught.value.retry_after is None
        assert "\n" not in str(caught.value)
    assert here.say("and on").offset == 2
    assert here.message(1) == hello


def test_impossible_posts_are_refused_at_once(cluster: Cluster) -> None:
    """Kinds of nodes only, changes without a message, reactions that are too long, messages of other rooms."""
    ada = cluster.chat("ada")
    lobby, den = ada.join("lobby"), ada.join("den")
    hello = den.say("hello")
    for kind, ref, text, complaint in (
        ("gone", None, "dice", "kind 'gone'"),
        ("edit", None, "dice", "give its offset"),
        ("react", 1, "x" * 65, "64 bytes"),
        ("", hello, "yes", "in den, not in lobby"),
    ):
        with pytest.raises(UsageError, match=complaint):
            lobby.say(text, kind=kind, ref=ref)
    with pytest.raises(UsageError, match="4096"):
        lobby.say("hello", data={"long": "x" * 5000})
    assert lobby.say("hello").offset == 1


def test_reactions_do_not_shorten_the_history(cluster: Cluster) -> None:
    """`limit` counts messages, and each message comes with all its reactions."""
    here, there = two(cluster)
    for number in range(5):
        here.say(str(number))
    reactions = [there.react(5, f"r{number}") for number in range(30)]
    heard(here, reactions[-1])
    found = there.history(limit=3)
    assert [message.text for message in found] == ["2", "3", "4"]
    assert len(found[2].reactions) == 30
    assert [message.text for message in here.history(before=found[0].offset)] == ["0", "1"]


def test_an_older_node_gets_texts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """An action becomes a text; an edit fails, also if it waited, as the node would log it as a message."""
    here, there = two(cluster)
    ada = here._chat
    link = ada._reconnector.current  # type: ignore[attr-defined]
    assert isinstance(link, NodeLink)
    hello = here.say("helo")
    link.connection.welcome = Welcome(link.node, link.connection.welcome.session, "1.1")
    with pytest.raises(NodeError, match=f"{link.node} runs an older version of parlour, which cannot edit messages"):
        here.edit(hello, "hello")
    assert here.say("waves", kind="action").text == "/me waves"
    assert here.reply(hello, "me too").reply_to is None
    last = there.say("and on")
    assert [event.kind for event in heard(there, last) if isinstance(event, Message)] == ["", "", "", ""]
