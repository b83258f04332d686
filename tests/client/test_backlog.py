"""The backlog of a room: bounded, in order, without loss, whenever the application comes to read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.backlog import Backlog
from parlour.client.events import Message, Presence, Restarted
from parlour.wire import messages as wire


def said(offset: int) -> wire.Message:
    """Return the message of this offset."""
    return wire.Message("lobby", offset, f"s-{offset}", "ada", 0, f"text {offset}")


def joined(offset: int = 0, after: int = 0, epoch: str = "e1") -> wire.Joined:
    """Return a node's answer to a join."""
    return wire.Joined("lobby", epoch, offset, after)


def offsets(backlog: Backlog) -> list[int]:
    """Take all there is, and return the offsets of the messages."""
    taken = []
    while (event := backlog.take()) is not None:
        if isinstance(event, Message):
            taken.append(event.offset)
    return taken


def test_what_was_said_before_the_join_is_a_replay() -> None:
    """Messages up to the offset of the join are replays, later ones are not."""
    backlog = Backlog("lobby")
    backlog.joined(joined(offset=2, after=1))
    assert backlog.message(said(2), "e1").replay
    assert not backlog.message(said(3), "e1").replay


def test_nothing_is_held_twice() -> None:
    """A message that comes again is not kept again."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    for offset in (1, 2, 2, 1, 3):
        backlog.message(said(offset), "e1")
    assert offsets(backlog) == [1, 2, 3]


def test_a_full_backlog_lets_go_and_asks_again() -> None:
    """The room is joined anew behind the last message kept, once and not before all has been taken."""
    backlog = Backlog("lobby", bound=3)
    backlog.joined(joined())
    for offset in range(1, 10):
        backlog.message(said(offset), "e1")
    assert len(backlog) == 3
    assert backlog.rejoin(0.0) is None
    assert offsets(backlog) == [1, 2, 3]
    assert backlog.rejoin(0.0) == wire.Join("lobby", after=3, epoch="e1")
    assert backlog.rejoin(0.0) is None
    # What is still under way from the old position is not kept: it would leave a hole.
    backlog.message(said(10), "e1")
    backlog.joined(joined(offset=10, after=3))
    assert not backlog.message(said(4), "e1").replay
    assert offsets(backlog) == [4]


def test_a_refused_rejoin_is_tried_again_later() -> None:
    """A log that is away for a moment does not make a hole."""
    backlog = Backlog("lobby", bound=1)
    backlog.joined(joined())
    backlog.message(said(1), "e1")
    backlog.message(said(2), "e1")
    assert offsets(backlog) == [1]
    assert backlog.rejoin(5.0)
    assert backlog.refused(5.0, retry_after=2.0)
    assert backlog.rejoin(6.9) is None
    assert backlog.wait(6.0) == 1.0
    assert backlog.rejoin(7.0) == wire.Join("lobby", after=1, epoch="e1")


def test_a_refused_first_join_is_no_rejoin() -> None:
    """The application that joins is told, and decides."""
    assert not Backlog("lobby").refused(0.0, None)


def test_a_new_epoch_is_told_and_counts_anew() -> None:
    """After an unasked `joined` of another epoch the offsets begin again."""
    backlog = Backlog("lobby")
    backlog.joined(joined())
    backlog.message(said(1), "e1")
    backlog.joined(joined(epoch="e2"))
    backlog.message(said(1), "e2")
    assert isinstance(backlog.take(), Message)
    assert backlog.take() == Restarted("lobby", "e2")
    assert isinstance(backlog.take(), Message)


def test_a_new_epoch_finds_a_full_backlog_full() -> None:
    """What is told unasked does not fill a full backlog further; the next join is for the new epoch, from its start."""
    backlog = Backlog("lobby", bound=1)
    backlog.joined(joined())
    backlog.message(said(1), "e1")
    backlog.message(said(2), "e1")
    backlog.joined(joined(epoch="e2"))
    backlog.message(said(1), "e2")
    assert isinstance(backlog.take(), Message)
    assert backlog.take() == Restarted("lobby", "e2")
    assert backlog.take() is None
    assert backlog.rejoin(0.0) == wire.Join("lobby", after=0, epoch="e2")


def test_presence_is_not_kept_without_bound() -> None:
    """Comings and goings count like messages; what finds no room is refused, not stored."""
    backlog = Backlog("lobby", bound=2)
    backlog.joined(joined())
    presence = Presence("lobby", ("ada",), (), 1)
    assert [backlog.offer(presence) for _ in range(4)] == [True, True, False, False]
    assert len(backlog) == 2


@given(st.integers(1, 5), st.lists(st.sampled_from(["said", "take", "answer"]), max_size=80))
def test_whatever_the_pace_the_sequence_is_whole(bound: int, steps: list[str]) -> None:
    """However saying, taking and the node's answers interleave, what is taken is 1, 2, 3… without a hole."""
    backlog = Backlog("lobby", bound)
    backlog.joined(joined())
    top, sent = 0, 0  # said in the room, and sent to us from our position
    asked: list[int] = []
    taken: list[int] = []

    def step(kind: str) -> None:
        nonlocal top, sent
        if kind == "said":
            top = sent = top + 1
            backlog.message(said(top), "e1")
        elif kind == "take":
            event = backlog.take()
            if isinstance(event, Message):
                taken.append(event.offset)
            join = backlog.rejoin(0.0)
            if join is not None and join.after is not None:
                asked.append(join.after)
        elif asked:
            after = asked.pop(0)
            backlog.joined(joined(offset=top, after=after))
            for offset in range(after + 1, top + 1):
                backlog.message(said(offset), "e1")
        assert len(backlog) <= bound

    for kind in steps:
        step(kind)
    for _ in range(4 * top + 8):
        step("take")
        step("answer")
    assert taken == list(range(1, top + 1))
