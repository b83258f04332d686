"""The posts of a chat without an acknowledgement: sent in order, sent again, and kept until their time is over."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client import DeadlineError, Message, NodeError
from parlour.client import outbox as module
from parlour.client.outbox import Outbox
from parlour.wire.messages import Accepted, Say


def logged(number: int) -> Message:
    """Return the message that the post of this number became."""
    return Message("lobby", number, f"s-{number}", "ada", 0, str(number), replay=False)


def idle() -> None:
    """Ignore that something is due."""


def roomy(_: float) -> bool:
    """Answer as for a node that takes everything."""
    return True


def test_posts_wait_until_their_room_is_open() -> None:
    """Rooms are independent; posts that waited go first."""
    outbox = Outbox(idle, roomy)
    sent: list[Say] = []
    for text in ("one", "two"):
        outbox.post("lobby", text, 10)
    outbox.post("den", "elsewhere", 10)
    outbox.open("lobby", sent.append)
    outbox.post("lobby", "three", 10)
    assert [say.text for say in sent] == ["one", "two", "three"]


def test_a_refused_post_holds_back_later_ones() -> None:
    """Later posts are sent behind one that waits for another try."""
    outbox = Outbox(idle, roomy)
    sent: list[Say] = []
    outbox.open("lobby", sent.append)
    first = outbox.post("lobby", "one", 10)
    outbox.refused(1, NodeError("away", "unavailable", 0.0))
    outbox.post("lobby", "two", 10)
    assert outbox.ready() == ["lobby"]
    outbox.open("lobby", sent.append)
    assert [say.id for say in sent] == [1, 1, 2]
    outbox.acknowledge(1, logged(1))
    assert first.result(0) == logged(1)


def test_slow_down_is_about_all_rooms() -> None:
    """All rooms wait until the time that the node named; the posts' own times begin anew then, unless one gives up."""
    outbox = Outbox(idle, roomy)
    sent: list[Say] = []
    for room in ("lobby", "den"):
        outbox.open(room, sent.append)
    first, second = outbox.post("lobby", "one", 0.0), outbox.post("lobby", "two", 0.0)
    outbox.refused(1, NodeError("too fast", "slow_down", 60.0))
    outbox.post("den", "three", 0.0)
    outbox.expire()
    outbox.expire(second)
    assert not first.done()
    assert str(second.exception(0)) == "no acknowledgement within 0 s: it may have been logged"
    assert len(sent) == 2
    assert outbox.ready() == []
    assert outbox.due() > time.monotonic() + 50
    outbox.open("den", sent.append)
    assert sent[-1].text == "three"


def test_ids_stay_within_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one room waits and another is busy, the next post waits until the first is acknowledged."""
    monkeypatch.setattr(module, "WINDOW", 20)
    outbox = Outbox(idle, roomy)
    outbox.post("den", "waits", 100)
    sent: list[Say] = []
    outbox.open("lobby", sent.append)
    for number in range(2, 21):
        outbox.post("lobby", str(number), 10)
        outbox.acknowledge(number, logged(number))
    with pytest.raises(DeadlineError, match="a post to den waits"):
        outbox.post("lobby", "21 is 20 above the first", 0.01)
    outbox.acknowledge(1, logged(1))
    outbox.post("lobby", "goes", 0.01)
    assert sent[-1].text == "goes"


def test_the_error_tells_whether_a_post_may_be_logged() -> None:
    """A post that was always refused is not logged; after a lost connection this is not known."""
    for lost, kind in ((False, NodeError), (True, DeadlineError)):
        outbox = Outbox(idle, roomy)
        outbox.open("lobby", lambda say: None)
        post = outbox.post("lobby", "one", 0.0)
        if lost:
            outbox.detach()
            outbox.open("lobby", lambda say: None)
        outbox.refused(1, NodeError("away", "unavailable", 1.0))
        outbox.expire()
        assert type(post.exception(0)) is kind


def test_a_post_that_was_never_sent() -> None:
    """It is certainly not logged, and the error says why it was not sent."""
    outbox = Outbox(idle, roomy)
    outbox.detach("no broker answers")
    away = outbox.post("lobby", "one", 0.0)
    outbox.expire()
    outbox.detach()
    outbox.not_opened("lobby", "the room log is away")
    closed = outbox.post("lobby", "two", 0.0)
    outbox.expire()
    assert str(away.exception(0)) == "it could not be sent within 0 s: no broker answers"
    assert str(closed.exception(0)) == "it could not be sent within 0 s: the room log is away"


def test_a_post_that_the_node_cannot_understand_fails() -> None:
    """At once if the room is open, or when it opens; the posts around it are sent."""
    outbox = Outbox(idle, roomy)
    sent: list[Say] = []

    def old(say: Say) -> NodeError | None:
        if say.kind:
            return NodeError("n1 runs an older version", "bad_kind")
        sent.append(say)
        return None

    waits = outbox.post("lobby", "one", 10, "edit", 1)
    outbox.post("lobby", "two", 10)
    outbox.open("lobby", old)
    fails = outbox.post("lobby", "three", 10, "react", 1)
    outbox.post("lobby", "four", 10)
    assert [str(post.exception(0)) for post in (waits, fails)] == ["n1 runs an older version"] * 2
    assert [(say.id, say.text) for say in sent] == [(2, "two"), (4, "four")]


def test_a_post_that_only_the_last_node_understood_may_be_logged() -> None:
    """It was sent to that node, whose answer was lost with the connection."""
    outbox = Outbox(idle, roomy)
    outbox.open("lobby", lambda say: None)
    post = outbox.post("lobby", "one", 10, "edit", 1)
    outbox.detach("gone")
    outbox.open("lobby", lambda say: NodeError("n2 runs an older version", "bad_kind"))
    assert isinstance(post.exception(0), DeadlineError)


def test_a_record_logged_before_is_returned_whole() -> None:
    """The node tells only its offset; the outbox knows the rest."""
    outbox = Outbox(idle, roomy)
    post = outbox.post("lobby", "hello", 10, "edit", 7, {"a": 1})
    outbox.accepted(Accepted("lobby", 1, 9, 0), "s", "ada")
    assert post.result(0) == Message("lobby", 9, "s-1", "ada", 0, "hello", False, True, "edit", 7, "", {"a": 1})


@given(st.lists(st.sampled_from(["post", "lose", "open", "acknowledge", "refuse"]), max_size=60))
def test_connections_get_unacknowledged_posts_in_order(steps: list[str]) -> None:
    """Each connection is sent all posts without acknowledgement, each once unless refused, by rising ids."""
    outbox = Outbox(idle, roomy)
    sent: list[int] = []  # on this connection, and not acknowledged

    def note(say: Say) -> None:
        sent.append(say.id)

    posted = 0
    waiting: set[int] = set()
    is_open = False
    for step in steps:
        if step == "post":
            posted += 1
            outbox.post("lobby", str(posted), 100)
            waiting.add(posted)
        elif step == "lose":
            outbox.detach()
            sent.clear()
            is_open = False
        elif step == "open":
            outbox.open("lobby", note)
            is_open = True
        elif step == "acknowledge" and sent and is_open:
            number = sent.pop(0)
            outbox.acknowledge(number, logged(number))
            waiting.discard(number)
        elif step == "refuse" and sent and is_open:
            # A node whose log is away refuses all posts that it has.
            for number in sent:
                outbox.refused(number, NodeError("away", "unavailable", 0.0))
            sent.clear()
            is_open = False
        if is_open:
            assert sent == sorted(waiting)
