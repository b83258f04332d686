"""The file of a room log: faults lock it and move it away, and it goes on as it was."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from parlour.chaos.logfile import LogFile
from parlour.node.log import LogError, Post, sqlite_file
from parlour.node.log.opening import open_log
from support.waiting import MS


@pytest.mark.parametrize(("way", "said"), [("locked", "another program holds it"), ("moved", "is gone: put it back")])
def test_log_is_unchanged_afterwards(way: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file is away nothing is logged; afterwards the log goes on in the same epoch, and nothing is lost."""
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


def test_contents_include_the_journal(tmp_path: Path) -> None:
    """A post that was only in the journal is found once in the file, and the journal is empty."""
    file = LogFile(tmp_path / "rooms.sqlite")
    with closing(open_log(file.url)) as log:
        log.append("lobby", [Post("s", 1, "ada", 1, "one of a kind")])
        assert file.contents().count(b"one of a kind") == 1
        assert (tmp_path / "rooms.sqlite-wal").stat().st_size == 0
