"""The backlog of a room: bounded, in order and without loss, whenever the application takes the events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.backlog import Backlog
from parlour.client.events import Message, Presence, Reconnected, Reconnecting, Restarted
from parlour.wire import messages as wire


def said(offset: int) -> wire.Message:
    """Return the message of this offset."""
    return wire.Message("lobby", offset, f"s-{offset}", "ada", 0, f"text {offset}")


def joined(offset: int = 0, after: int = 0, epoch: str = "e1") -> wire.Joined:
    """Return a node's answer to a join."""
    return wire.Joined("lobby", epoch, offset, after)


def offsets(backlog: Backlog) -> list[int]:
    """Take all events, and return the offsets of the messages."""
    taken = []
    while (event := backlog.take()) is not None:
        if isinstance(event, Message):
            taken.append(event.offset)
    return taken


def test_older_messages_are_replays() -> None:
    """Messages up to the offset of the join are replays, later messages are not."""
    backlog = Backlog("lobby")
    backlog.joined(joined(offset=2, after=1))
    assert backlog.record(said(2), "e1").replay
    assert not backlog.record(said(3), "e1").replay


def test_no_message_is_kept_twice() -> None:
    """A message that comes again is not kept again."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for offset in (1, 2, 2, 1, 3):
        backlog.record(said(offset), "e1")
    assert offsets(backlog) == [1, 2, 3]


def test_a_full_backlog_lets_go_and_asks_again() -> None:
    """The room is joined again behind the last message kept, once, after all events have been taken."""
    backlog = Backlog("lobby", bound=3)
    backlog.joined(joined())
    for offset in range(1, 10):
        backlog.record(said(offset), "e1")
    assert len(backlog) == 3
    assert not backlog.rejoin(0.0)
    assert offsets(backlog) == [1, 2, 3]
    assert backlog.rejoin(0.0)
    assert backlog.resume() == wire.Join("lobby", after=3, epoch="e1", id="s-3")
    assert not backlog.rejoin(0.0)
    # Messages still on their way from the old position are not kept: they would leave a hole.
    backlog.record(said(10), "e1")
    backlog.joined(joined(offset=10, after=3))
    assert not backlog.record(said(4), "e1").replay
    assert offsets(backlog) == [4]


def test_a_refused_rejoin_is_tried_again_later() -> None:
    """A log that is away for a moment makes no hole."""
    backlog = Backlog("lobby", bound=1)
    backlog.joined(joined())
    backlog.record(said(1), "e1")
    backlog.record(said(2), "e1")
    assert offsets(backlog) == [1]
    assert backlog.rejoin(5.0)
    assert backlog.refused(5.0, retry_after=2.0)
    assert not backlog.rejoin(6.9)
    assert backlog.wait(6.0) == 1.0
    assert backlog.rejoin(7.0)
    assert backlog.resume() == wire.Join("lobby", after=1, epoch="e1", id="s-1")


def test_a_refused_first_join_is_no_rejoin() -> None:
    """The application that joins gets the error, and decides."""
    assert not Backlog("lobby").refused(0.0, None)


def test_a_new_epoch_restarts_the_room() -> None:
    """After an unasked `joined` of another epoch the offsets begin again."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    backlog.record(said(1), "e1")
    backlog.joined(wire.Joined("lobby", "e2", 0, 0, recovered=False))
    backlog.record(said(1), "e2")
    assert isinstance(backlog.take(), Message)
    assert backlog.take() == Restarted("lobby", "e2", 0)
    assert isinstance(backlog.take(), Message)


def test_a_new_epoch_forgets_the_messages() -> None:
    """Its offsets name other records: an edit that refers to one of them changes no older message."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for offset in (1, 2, 3):
        backlog.record(said(offset), "e1")
    backlog.joined(wire.Joined("lobby", "e2", 0, 0, recovered=False))
    backlog.record(said(1), "e2")
    assert [message.offset for message in backlog.fold.messages()] == [1]


def test_a_valid_position_stays_in_a_new_epoch() -> None:
    """The log has all messages that were shown: none comes again, and new ones are no replays."""
    backlog = Backlog("lobby", history=50)
    assert backlog.resume() == wire.Join("lobby", 50)
    backlog.joined(wire.Joined("lobby", "e1", 7, 7, id="s-7"))
    assert backlog.resume() == wire.Join("lobby", 50, 7, "e1", "s-7")
    backlog.joined(wire.Joined("lobby", "e2", 9, 7))
    for offset in (7, 8, 9, 10):
        backlog.record(said(offset), "e2")
    events = [backlog.take() for _ in range(4)]
    assert [(event.offset, event.replay) for event in events if isinstance(event, Message)] == [
        (8, False),
        (9, False),
        (10, False),
    ]
    assert backlog.resume() == wire.Join("lobby", 50, 10, "e2", "s-10")


def test_a_position_of_another_connection_is_ignored() -> None:
    """A node that was behind goes on from its own position, so the room is joined again."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for offset in (1, 2):
        backlog.record(said(offset), "e1")
    backlog.joined(wire.Joined("lobby", "e2", 1, 1))
    backlog.record(said(2), "e2")
    assert offsets(backlog) == [1, 2]
    assert backlog.rejoin(0.0)
    assert backlog.resume() == wire.Join("lobby", 0, 2, "e1", "s-2")


def test_a_new_epoch_and_a_full_backlog() -> None:
    """An unasked `joined` does not fill the backlog further; the next join shows that the position is not valid."""
    backlog = Backlog("lobby", bound=1)
    backlog.joined(joined())
    backlog.record(said(1), "e1")
    backlog.record(said(2), "e1")
    backlog.joined(joined(epoch="e2"))
    backlog.record(said(1), "e2")
    assert isinstance(backlog.take(), Message)
    assert backlog.take() is None
    assert backlog.rejoin(0.0)
    assert backlog.resume() == wire.Join("lobby", after=1, epoch="e1", id="s-1")
    backlog.joined(wire.Joined("lobby", "e2", 5, 3, recovered=False))
    assert backlog.take() == Restarted("lobby", "e2", 3)
    backlog.record(said(4), "e2")
    assert backlog.take() == Message("lobby", 4, "s-4", "ada", 0, "text 4", replay=True)


def test_presence_is_bounded() -> None:
    """Changes of the members count like messages; without room for them they are refused, not kept."""
    backlog = Backlog("lobby", bound=2)
    backlog.joined(joined())
    presence = Presence("lobby", ("ada",), (), 1)
    assert [backlog.offer(presence) for _ in range(4)] == [True, True, False, False]
    assert len(backlog) == 2


@given(st.integers(1, 5), st.lists(st.sampled_from(["said", "take", "answer"]), max_size=80))
def test_the_sequence_is_whole_at_any_pace(bound: int, steps: list[str]) -> None:
    """In any order of posts, takes and answers of the node, the application takes 1, 2, 3… without a hole."""
    backlog = Backlog("lobby", bound)
    backlog.joined(joined())
    top, sent = 0, 0  # offsets: the last of the room, and the last sent from our position
    asked: list[int] = []
    taken: list[int] = []

    def step(kind: str) -> None:
        nonlocal top, sent
        if kind == "said":
            top = sent = top + 1
            backlog.record(said(top), "e1")
        elif kind == "take":
            event = backlog.take()
            if isinstance(event, Message):
                taken.append(event.offset)
            if backlog.rejoin(0.0):
                after = backlog.resume().after
                assert after is not None
                asked.append(after)
        elif asked:
            after = asked.pop(0)
            backlog.joined(joined(offset=top, after=after))
            for offset in range(after + 1, top + 1):
                backlog.record(said(offset), "e1")
        assert len(backlog) <= bound

    for kind in steps:
        step(kind)
    for _ in range(4 * top + 8):
        step("take")
        step("answer")
    assert taken == list(range(1, top + 1))


def test_a_hole_is_never_shown() -> None:
    """A message that is not the next one is let go, and the room is joined again behind the last one kept."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for offset in (1, 2, 4, 5):
        backlog.record(said(offset), "e1")
    assert offsets(backlog) == [1, 2]
    assert backlog.rejoin(0.0)
    assert backlog.resume() == wire.Join("lobby", after=2, epoch="e1", id="s-2")
    backlog.joined(joined(offset=5, after=2))
    for offset in (3, 4, 5):
        backlog.record(said(offset), "e1")
    assert offsets(backlog) == [3, 4, 5]


def test_messages_of_another_epoch_are_dropped() -> None:
    """An old connection may still bring messages of the epoch before."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    backlog.record(said(1), "e0")
    backlog.record(said(1), None)
    assert offsets(backlog) == []


def test_trimmed_history_restarts_the_room() -> None:
    """The epoch is the same, but the next messages are gone: there is an event, never a silent hole."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    backlog.record(said(1), "e1")
    assert backlog.resume() == wire.Join("lobby", after=1, epoch="e1", id="s-1")
    backlog.joined(wire.Joined("lobby", "e1", 9, 7, recovered=False))
    backlog.record(said(8), "e1")
    assert isinstance(backlog.take(), Message)
    assert backlog.take() == Restarted("lobby", "e1", 7)
    assert backlog.take() == Message("lobby", 8, "s-8", "ada", 0, "text 8", replay=False)


def test_many_losses_do_not_fill_the_backlog() -> None:
    """Of several losses that were not taken yet, only the first is kept."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for _ in range(5):
        backlog.add(Reconnecting("gone"))
        backlog.add(Reconnecting("gone again"))
        backlog.add(Reconnected("n2"))
    assert [backlog.take(), backlog.take(), backlog.take()] == [Reconnecting("gone"), Reconnected("n2"), None]


@given(st.integers(1, 6), st.data())
def test_two_connections_make_one_stream(bound: int, data: st.DataObject) -> None:
    """Two connections bring the same messages, each from its own position, in any order: the stream is whole."""
    backlog = Backlog("lobby", bound)
    backlog.joined(joined())
    top = data.draw(st.integers(0, 20))
    at: list[int | None] = [0, None]
    taken: list[int] = []
    for _ in range(data.draw(st.integers(0, 80))):
        kind = data.draw(st.sampled_from(["first", "second", "move", "take"]))
        if kind == "move":
            join = backlog.resume()
            after = at[1] = top if join.after is None else join.after
            backlog.joined(joined(offset=top, after=after))
        elif kind == "take":
            taken += offsets(backlog)
        else:
            which = 0 if kind == "first" else 1
            place = at[which]
            if place is not None and place < top:
                at[which] = place + 1
                backlog.record(said(place + 1), "e1")
    for _ in range(top + 2):
        taken += offsets(backlog)
        backlog.rejoin(0.0)
        join = backlog.resume()
        if join.after is not None:
            backlog.joined(joined(offset=top, after=join.after))
            for offset in range(join.after + 1, top + 1):
                backlog.record(said(offset), "e1")
    assert taken == list(range(1, top + 1))
