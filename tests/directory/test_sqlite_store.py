"""What may happen to the file of a directory, and who may read it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from parlour.directory.opening import open_store
from parlour.directory.store import DirectoryError
from support.waiting import MS


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """The file and its journal are the owner's alone, whatever the umask, and beside the log."""
    umask = os.umask(0)
    try:
        with closing(open_store(f"sqlite://{tmp_path}/rooms.sqlite")) as store:
            store.put("name/ada", b"1")
            names = ["rooms.sqlite-people", "rooms.sqlite-people-shm", "rooms.sqlite-people-wal"]
            assert sorted(path.name for path in tmp_path.iterdir()) == names
            assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    finally:
        os.umask(umask)


def test_a_file_that_is_gone_is_missed(tmp_path: Path) -> None:
    """Without the file each call says what to do; the file, put back, is used again, and so is a backup of it."""
    path, away = tmp_path / "log-people", tmp_path / "away"
    with closing(open_store(f"sqlite://{tmp_path}/log")) as store:
        version = store.put("name/ada", b"1")
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "backup")) as backup:
            source.backup(backup)
        path.rename(away)
        with pytest.raises(DirectoryError, match="is gone: put it back"):
            store.get("name/ada")
        with pytest.raises(DirectoryError, match="is gone: put it back"):
            store.put("name/ada", b"2", version or "")
        with pytest.raises(DirectoryError, match=r"is missing, but .*-wal is there: put the file back"):
            open_store(f"sqlite://{tmp_path}/log")
        away.rename(path)
        assert store.put("name/ada", b"2", version or "")
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").unlink()
        shutil.copy(tmp_path / "backup", path)
        assert store.get("name/ada") == (version, b"1", 0)
        assert store.put("name/ada", b"3", version or "")
    with closing(open_store(f"sqlite://{tmp_path}/log")) as store:
        document = store.get("name/ada")
        assert document is not None
        assert document.value == b"3"


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """Another program's database, a text, a folder, a newer format, a missing folder: each has its advice."""
    url, path = f"sqlite://{tmp_path}/log", tmp_path / "log-people"
    path.write_text("no database, but long enough for the header of one " * 4)
    with pytest.raises(DirectoryError, match="it is not a directory"):
        open_store(url)
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(DirectoryError, match="a database of another program"):
        open_store(url)
    path.unlink()
    open_store(url).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 9")
    with pytest.raises(DirectoryError, match="newer parlour"):
        open_store(url)
    path.unlink()
    path.mkdir()
    with pytest.raises(DirectoryError, match="it is no file"):
        open_store(url)
    with pytest.raises(DirectoryError, match="does not exist"):
        open_store(f"sqlite://{tmp_path}/nowhere/log")


def test_a_held_file_is_told_in_time(tmp_path: Path) -> None:
    """While another program holds the file, reading goes on and a change fails within 5 s."""
    with closing(open_store(f"sqlite://{tmp_path}/log")) as store:
        version = store.put("name/ada", b"1")
        with closing(sqlite3.connect(tmp_path / "log-people", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            with pytest.raises(DirectoryError, match="another program holds it; try again"):
                store.put("name/ada", b"2", version or "")
            assert time.monotonic() - begun < 5000 * MS
            assert store.get("name/ada") == (version, b"1", 0)
            other.execute("ROLLBACK")
        assert store.put("name/ada", b"2", version or "")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """A call after the end is an error of the directory, not of its engine."""
    store = open_store(f"sqlite://{tmp_path}/log")
    store.close()
    with pytest.raises(DirectoryError, match="closed"):
        store.get("name/ada")
    with pytest.raises(DirectoryError, match="closed"):
        store.put("name/ada", b"1")
