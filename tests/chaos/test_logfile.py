"""The room log taken away from a node: locked or moved, it refuses what is said, and goes on as it was."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from parlour.chaos.logfile import LogFile
from parlour.node.log import LogError, Post, sqlite_file
from parlour.node.log.opening import open_log
from support.waiting import MS


@pytest.mark.parametrize(("way", "said"), [("locked", "another program holds it"), ("moved", "is gone: put it back")])
def test_a_log_that_is_away_is_the_same_afterwards(
    way: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away nothing is logged; then all goes on in the same epoch, with nothing lost."""
    monkeypatch.setattr(sqlite_file, "BUSY", 50 * MS)
    file = LogFile(tmp_path / "rooms.sqlite")
    with closing(open_log(file.url)) as log:
        (first,) = log.append("lobby", [Post("s", 1, "ada", 1, "one")])
        away: AbstractContextManager[None] = getattr(file, way)()
        with away, pytest.raises(LogError, match=said):
            log.append("lobby", [Post("s", 2, "ada", 2, "two")])
        (second,) = log.append("lobby", [Post("s", 2, "ada", 2, "two")])
        assert (second.epoch, second.offset) == (first.epoch, 2)
        assert [message.text for message in log.read("lobby", 0, 9)] == ["one", "two"]


def test_the_contents_are_all_that_is_in_the_file(tmp_path: Path) -> None:
    """What was said last, which is in the journal alone, is found; and the journal is empty then."""
    file = LogFile(tmp_path / "rooms.sqlite")
    with closing(open_log(file.url)) as log:
        log.append("lobby", [Post("s", 1, "ada", 1, "one of a kind")])
        assert file.contents().count(b"one of a kind") == 1
        assert (tmp_path / "rooms.sqlite-wal").stat().st_size == 0
