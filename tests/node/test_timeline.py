"""Where a room stands on a node, and where a client that joins may go on."""

from __future__ import annotations

import pytest

from parlour.node.log import Extent
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.timeline import LastMessage, Timeline
from parlour.wire.codec import frames
from parlour.wire.messages import Join, Message


def batch(first: int, last: int, session: str = "s") -> Batch:
    """Return the messages `first` to `last`, said in this session."""
    said = [Message("lobby", offset, f"{session}-{offset}", "ada", 1, "hi") for offset in range(first, last + 1)]
    return Batch(first, last, frames(said))


@pytest.mark.parametrize(("after", "whence"), [(9, (9, True)), (12, (12, True)), (13, (2, False)), (1, (2, False))])
@pytest.mark.parametrize(("here", "kept"), [(9, 12), (12, 9)])
@pytest.mark.parametrize("modern", [False, True])
def test_who_is_ahead_of_this_node_or_of_what_it_read_goes_on(
    here: int, kept: int, after: int, whence: tuple[int, bool], modern: bool
) -> None:
    """Another node may have brought the log further, or this one since it was read; behind both there is nothing."""
    timeline = Timeline(1000)
    timeline.begin(Extent("e", 2, here), LastMessage(here, "s-1"))
    join = Join("lobby", 100, after, "e")
    assert timeline.join_position(join, Extent("e", 2, kept), False, modern) == whence


def begun_anew(shared: bool) -> Timeline:
    """Return a room of ten messages, of which a new log has eight, and then three others."""
    timeline = Timeline(100_000)
    timeline.begin(Extent("e1", 0, 0), LastMessage(0))
    timeline.take([Arrival("e1", 10, batch(1, 10))])
    assert timeline.delivered() == {offset: f"s-{offset}" for offset in range(1, 11)}
    assert timeline.needs_log_check(Arrival("e2", 11, batch(10, 11, "t")))
    assert timeline.restart_offset(Extent("e2", 0, 11), []) == 9
    timeline.begin(Extent("e2", 0, 11), LastMessage(8, "s-8") if shared else LastMessage(9, "t-9"), shared)
    return timeline


@pytest.mark.parametrize(("offset", "whence"), [(5, (5, True)), (8, (8, True)), (10, (8, False))])
def test_a_log_that_lost_its_end_is_gone_on_with_from_there(offset: int, whence: tuple[int, bool]) -> None:
    """Who was sent only what the log still has goes on; who was sent more is sent what took its place."""
    timeline = begun_anew(shared=True)
    assert timeline.resume_position("e1", offset, 50, True, 0) == whence
    assert timeline.join_position(Join("lobby", 50, offset, "e1"), Extent("e2", 0, 11), False, True) == whence
    assert timeline.resume_position("e1", offset, 50, False, 0) == (0, False), (
        "an older client is sent all that is kept"
    )
    assert timeline.resume_position("e2", 9, 50, True, 0) is None


def test_of_another_log_a_newcomers_share_is_sent_and_what_is_new() -> None:
    """Nothing of what was said is in it: the last messages of before are shown, and all that is said from now on."""
    timeline = begun_anew(shared=False)
    assert timeline.resume_position("e1", 5, 3, True, 0) == (6, False)
    assert timeline.resume_position("e1", 5, 0, True, 0) == (9, False)
    assert timeline.resume_position("e1", 5, 0, False, 0) == (0, False)
    kept = Extent("e2", 0, 11)
    assert timeline.join_position(Join("lobby", 3, 5, "e1"), kept, False, True) == (6, False)
    assert timeline.join_position(Join("lobby", 3, 5, "e1", "t-5"), kept, True, True) == (5, True)
