"""When SQLite's epoch changes: whenever offsets could be given out again, and only then."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from parlour.node.log import LogError, Post
from parlour.node.log.opening import open_log


def say(path: Path, first: int, last: int, end: str = "close", sync: str = "") -> str:
    """Open the log, append posts, and close it; return the epoch they were logged in."""
    log = open_log(f"sqlite://{path}{sync}")
    appended = log.append("lobby", [Post("s", number, "ada", 1, "hello") for number in range(first, last + 1)])
    if end == "close":
        log.close()
    else:
        # As if the process had been killed: what it holds is closed, what it would have written last is not.
        log._file._disconnect()  # type: ignore[attr-defined]
    return appended[0].epoch


def after_a_reboot(path: Path) -> None:
    """Make the file say that it was last opened before the machine started."""
    with sqlite3.connect(path) as file:
        file.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot'")
    file.close()


@pytest.mark.parametrize("end", ["close", "kill"])
def test_stopped_or_killed_it_is_the_same_epoch(tmp_path: Path, end: str) -> None:
    """What was committed is in the file, however the process ended."""
    path = tmp_path / "log.sqlite"
    assert say(path, 1, 3, end) == say(path, 4, 6, end) == say(path, 7, 9, end)


def test_a_copy_put_back_in_place_is_a_new_epoch(tmp_path: Path) -> None:
    """The same file to the system, but with fewer messages than it had."""
    path = tmp_path / "log.sqlite"
    epoch = say(path, 1, 3)
    backup = path.read_bytes()
    assert say(path, 4, 6) == epoch
    path.write_bytes(backup)
    restored = say(path, 4, 4)
    assert restored != epoch
    assert say(path, 5, 5) == restored


def test_a_backup_of_a_log_in_use_put_back_is_a_new_epoch(tmp_path: Path) -> None:
    """It is of the time since the last opening, and lacks what was said after it."""
    path, backup = tmp_path / "log.sqlite", tmp_path / "backup"
    with closing(open_log(f"sqlite://{path}")) as log:
        epoch = log.append("lobby", [Post("s", 1, "ada", 1, "hello")])[0].epoch
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        log.append("lobby", [Post("s", 2, "ada", 1, "hello")])
    path.write_bytes(backup.read_bytes())
    assert say(path, 2, 2) != epoch


def test_a_new_file_in_the_place_of_the_old_is_a_new_epoch(tmp_path: Path) -> None:
    """Whether or not the system gives it the number of the old one."""
    path = tmp_path / "log.sqlite"
    epoch = say(path, 1, 3)
    shutil.copy(path, tmp_path / "backup")
    say(path, 4, 6)
    path.unlink()
    shutil.copy(tmp_path / "backup", path)
    assert say(path, 4, 4) != epoch


def test_an_unclean_stop_of_the_machine_is_a_new_epoch(tmp_path: Path) -> None:
    """Commits that were not synced may be lost with the power: not with sync=full, and not after a clean stop."""
    path = tmp_path / "log.sqlite"
    epoch = say(path, 1, 3, "kill")
    after_a_reboot(path)
    second = say(path, 4, 6)
    assert second != epoch
    after_a_reboot(path)
    assert say(path, 7, 9, "kill", "?sync=full") == second
    after_a_reboot(path)
    assert say(path, 10, 12, "close", "?sync=full") == second


def test_no_other_log_is_begun_where_one_was_moved_away(tmp_path: Path) -> None:
    """SQLite would take the journal of the nodes that still have it open for one of the new file, and remove it."""
    path, away = tmp_path / "log.sqlite", tmp_path / "away"
    with closing(open_log(f"sqlite://{path}")) as log:
        appended = log.append("lobby", [Post("s", 1, "ada", 1, "hello")])
        path.rename(away)
        with pytest.raises(LogError, match=r"log\.sqlite is gone, .* put it back") as refused:
            open_log(f"sqlite://{path}")
        assert not path.exists()
        away.rename(path)
        with closing(open_log(f"sqlite://{path}")) as other:
            assert [message.text for message in other.read("lobby", 0, 9)] == ["hello"]
            assert other.append("lobby", [Post("s", 2, "ada", 1, "again")])[0].epoch == appended[0].epoch
    path.unlink()
    (rest,) = tmp_path.iterdir()
    assert str(rest) in str(refused.value)
    rest.unlink()
    assert say(path, 1, 1) != appended[0].epoch
