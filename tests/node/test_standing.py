"""Where a room stands on a node, and where a client that joins may go on."""

from __future__ import annotations

import pytest

from parlour.node.log import Extent
from parlour.node.order import Arrival, Batch
from parlour.node.standing import Record, Standing
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
    standing = Standing(1000)
    standing.begin(Extent("e", 2, here), Record(here, "s-1"))
    join = Join("lobby", 100, after, "e")
    assert standing.place(join, Extent("e", 2, kept), False, modern) == whence


def begun_anew(shared: bool) -> Standing:
    """Return a room of ten messages, of which a new log has eight, and then three others."""
    standing = Standing(100_000)
    standing.begin(Extent("e1", 0, 0), Record(0))
    standing.take([Arrival("e1", 10, batch(1, 10))])
    assert standing.delivered() == {offset: f"s-{offset}" for offset in range(1, 11)}
    assert standing.overtaken(Arrival("e2", 11, batch(10, 11, "t")))
    assert standing.fresh(Extent("e2", 0, 11), []) == 9
    standing.begin(Extent("e2", 0, 11), Record(8, "s-8") if shared else Record(9, "t-9"), shared)
    return standing


@pytest.mark.parametrize(("offset", "whence"), [(5, (5, True)), (8, (8, True)), (10, (8, False))])
def test_a_log_that_lost_its_end_is_gone_on_with_from_there(offset: int, whence: tuple[int, bool]) -> None:
    """Who was sent only what the log still has goes on; who was sent more is sent what took its place."""
    standing = begun_anew(shared=True)
    assert standing.notice("e1", offset, 50, True, 0) == whence
    assert standing.place(Join("lobby", 50, offset, "e1"), Extent("e2", 0, 11), False, True) == whence
    assert standing.notice("e1", offset, 50, False, 0) == (0, False), "an older client is sent all that is kept"
    assert standing.notice("e2", 9, 50, True, 0) is None


def test_of_another_log_a_newcomers_share_is_sent_and_what_is_new() -> None:
    """Nothing of what was said is in it: the last messages of before are shown, and all that is said from now on."""
    standing = begun_anew(shared=False)
    assert standing.notice("e1", 5, 3, True, 0) == (6, False)
    assert standing.notice("e1", 5, 0, True, 0) == (9, False)
    assert standing.notice("e1", 5, 0, False, 0) == (0, False)
    kept = Extent("e2", 0, 11)
    assert standing.place(Join("lobby", 3, 5, "e1"), kept, False, True) == (6, False)
    assert standing.place(Join("lobby", 3, 5, "e1", "t-5"), kept, True, True) == (5, True)
