"""A room's timeline, and the position at which a joining client continues."""

from __future__ import annotations

import pytest

from parlour.node.log import Extent
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.timeline import LastMessage, Timeline
from parlour.wire.codec import frames
from parlour.wire.messages import Join, Message


def batch(first: int, last: int, session: str = "s") -> Batch:
    """Return the messages `first` to `last` of this session."""
    said = [Message("lobby", offset, f"{session}-{offset}", "ada", 1, "hi") for offset in range(first, last + 1)]
    return Batch(first, last, frames(said))


@pytest.mark.parametrize(("after", "expected"), [(9, (9, True)), (12, (12, True)), (13, (2, False)), (1, (2, False))])
@pytest.mark.parametrize(("here", "kept"), [(9, 12), (12, 9)])
@pytest.mark.parametrize("modern", [False, True])
def test_client_ahead_of_this_node_continues(
    here: int, kept: int, after: int, expected: tuple[int, bool], modern: bool
) -> None:
    """Another node may have brought the log further, or this one after the read; behind both there is nothing."""
    timeline = Timeline(1000)
    timeline.begin(Extent("e", 2, here), LastMessage(here, "s-1"))
    join = Join("lobby", 100, after, "e")
    assert timeline.join_position(join, Extent("e", 2, kept), False, modern) == expected


def restarted(shared: bool) -> Timeline:
    """Return a room with ten messages; a new log has eight of them (or none), and three new ones."""
    timeline = Timeline(100_000)
    timeline.begin(Extent("e1", 0, 0), LastMessage(0))
    timeline.take([Arrival("e1", 10, batch(1, 10))])
    assert timeline.delivered() == {offset: f"s-{offset}" for offset in range(1, 11)}
    assert timeline.needs_log_check(Arrival("e2", 11, batch(10, 11, "t")))
    assert timeline.restart_offset(Extent("e2", 0, 11), []) == 9
    timeline.begin(Extent("e2", 0, 11), LastMessage(8, "s-8") if shared else LastMessage(9, "t-9"), shared)
    return timeline


@pytest.mark.parametrize(("offset", "expected"), [(5, (5, True)), (8, (8, True)), (10, (8, False))])
def test_log_without_its_end(offset: int, expected: tuple[int, bool]) -> None:
    """A member continues if the log has all that it got; else it gets the messages that took their place."""
    timeline = restarted(shared=True)
    assert timeline.resume_position("e1", offset, 50, True, 0) == expected
    assert timeline.join_position(Join("lobby", 50, offset, "e1"), Extent("e2", 0, 11), False, True) == expected
    assert timeline.resume_position("e1", offset, 50, False, 0) == (0, False), "an older client gets all that is kept"
    assert timeline.resume_position("e2", 9, 50, True, 0) is None


def test_log_without_delivered_messages() -> None:
    """The new log has no delivered message: a member gets its share of history, and all new messages."""
    timeline = restarted(shared=False)
    assert timeline.resume_position("e1", 5, 3, True, 0) == (6, False)
    assert timeline.resume_position("e1", 5, 0, True, 0) == (9, False)
    assert timeline.resume_position("e1", 5, 0, False, 0) == (0, False)
    kept = Extent("e2", 0, 11)
    assert timeline.join_position(Join("lobby", 3, 5, "e1"), kept, False, True) == (6, False)
    assert timeline.join_position(Join("lobby", 3, 5, "e1", "t-5"), kept, True, True) == (5, True)
