"""Where a room stands on a node, and where a client that joins may go on."""

from __future__ import annotations

import pytest

from parlour.node.log import Extent
from parlour.node.standing import Standing
from parlour.wire.messages import Join


@pytest.mark.parametrize(("after", "whence"), [(9, (9, True)), (12, (12, True)), (13, (2, False)), (1, (2, False))])
@pytest.mark.parametrize(("here", "kept"), [(9, 12), (12, 9)])
def test_who_is_ahead_of_this_node_or_of_what_it_read_goes_on(
    here: int, kept: int, after: int, whence: tuple[int, bool]
) -> None:
    """Another node may have brought the log further, or this one since it was read; behind both there is nothing."""
    standing = Standing(1000)
    standing.begin(Extent("e", 2, here))
    assert standing.place(Join("lobby", after=after, epoch="e"), Extent("e", 2, kept)) == whence
